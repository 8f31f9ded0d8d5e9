"""The metrics of a classifier. Free of torch, so that a board can be read without it."""

from collections.abc import Collection

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric

KAPPA, ECE5 = "quadratic_kappa", "ece5"
METRICS = {
    "balanced_accuracy": Metric(),
    "accuracy": Metric(),
    "auroc": Metric(chance=0.5),
    "f1": Metric(),
    "ece": Metric(higher_is_better=False, biased=True),
    "auprc": Metric(),
    "brier": Metric(higher_is_better=False, bounds=(0.0, 2.0)),
    KAPPA: Metric(bounds=(-1.0, 1.0), chance=0.0),
    ECE5: Metric(higher_is_better=False, biased=True),
}
NAMES = tuple(METRICS)
ON_REQUEST = (ECE5,)
"""Metrics that a result has only where its protocol names them."""


def metrics_of(classes: int) -> dict[str, Metric]:
    """The metrics with what depends on the number of classes: by chance, balanced accuracy is 1 / classes.

    Examples:
        >>> metrics_of(4)["balanced_accuracy"].chance
        0.25
    """
    if not classes:
        return dict(METRICS)
    brier = Metric(higher_is_better=False) if classes == 2 else METRICS["brier"]
    return {**METRICS, "balanced_accuracy": Metric(chance=1 / classes), "brier": brier}


def metrics_for(card: DatasetCard) -> dict[str, Metric]:
    """The metrics of a dataset: quadratic kappa only where the order of its classes may have a meaning.

    Examples:
        >>> [KAPPA in metrics_for(DatasetCard("x", classes=("1", "2"), ordinal=yes)) for yes in (True, False)]
        [True, False]
    """
    ordered = card.ordinal or not card.classes  # of results that are compared, the classes are not known
    return {name: facts for name, facts in metrics_of(len(card.classes)).items() if ordered or name != KAPPA}


def kept_metrics(card: DatasetCard, asked: Collection[str] = ()) -> list[str]:
    """Names of the metrics that a result has.

    Args:
        card: Card of the dataset, which says whether its classes have an order.
        asked: The metrics that the protocol names.

    Examples:
        >>> [ECE5 in kept_metrics(DatasetCard("x", classes=("a", "b")), asked) for asked in ((), ("f1", "ece5"))]
        [False, True]
    """
    return [name for name in metrics_for(card) if name not in ON_REQUEST or name in asked]
