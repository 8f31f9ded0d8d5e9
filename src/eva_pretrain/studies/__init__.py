"""Studies: variants of a pretraining, each with several seeds, scored on the same tasks."""
