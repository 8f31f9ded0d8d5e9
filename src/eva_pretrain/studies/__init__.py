"""Studies: the variants of a pretraining, each from several seeds, scored on the same tasks."""
