"""Names of the main metrics. Free of torch, so that a board can be read without it."""

NAMES = ("balanced_accuracy", "accuracy", "auroc", "f1", "ece")
LOWER_IS_BETTER = frozenset({"ece"})
