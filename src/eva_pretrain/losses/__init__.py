"""Losses of self-supervised pretraining, one a file, and the teacher's targets."""
