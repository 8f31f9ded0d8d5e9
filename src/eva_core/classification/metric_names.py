"""Names of the main metrics. Free of torch, so that a board can be read without it."""

NAMES = ("balanced_accuracy", "accuracy", "auroc", "f1", "ece")
"""Of a classifier."""
SEGMENTATION = ("dice", "iou", "dice_pooled", "iou_pooled")
"""Of masks: mean over images of the mean over classes, then from pixel counts of all images together."""
LOWER_IS_BETTER = frozenset({"ece"})
BIASED = frozenset({"ece"})
"""What noise can only raise: a resampled value is too large, and so is the value itself."""
