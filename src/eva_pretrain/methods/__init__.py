"""Methods of self-supervised pretraining, one a file, on a common base."""
