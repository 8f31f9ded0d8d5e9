"""The metrics of a classifier. Free of torch, so that a board can be read without it."""

from eva_core.contracts.metric import Metric

METRICS = {
    "balanced_accuracy": Metric(),
    "accuracy": Metric(),
    "auroc": Metric(chance=0.5),
    "f1": Metric(),
    "ece": Metric(higher_is_better=False, biased=True),
}
NAMES = tuple(METRICS)


def metrics_of(classes: int) -> dict[str, Metric]:
    """The metrics with what guessing gives among so many classes: of balanced accuracy, 1 / classes.

    Examples:
        >>> metrics_of(4)["balanced_accuracy"].chance
        0.25
    """
    chance = Metric(chance=1 / classes) if classes else Metric()
    return {**METRICS, "balanced_accuracy": chance}
