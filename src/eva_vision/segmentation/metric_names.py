"""The metrics of masks. Free of torch."""

from eva_core.contracts.metric import Metric

DICE = "dice"
METRICS = {name: Metric() for name in (DICE, "iou", "dice_pooled", "iou_pooled")}
"""Mean over images of the mean over classes, then from pixel counts of all images together."""
BESIDE = ("iou", "aji", "pq")
"""Scores that a board shows beside the main one; `aji` and `pq` where objects are told apart."""
