"""The metrics of classes of patients or slides. Free of torch, so that a board can be read without it."""

from eva_core.classification.metric_names import metrics_of
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric

KAPPA = "quadratic_kappa"
KAPPA_FACTS = Metric(bounds=(-1.0, 1.0), chance=0.0)


def metrics_for(card: DatasetCard) -> dict[str, Metric]:
    """The metrics of a dataset: those of images, and quadratic kappa where the order of its classes may have a meaning.

    Examples:
        >>> [KAPPA in metrics_for(DatasetCard("x", classes=("1", "2"), ordinal=yes)) for yes in (True, False)]
        [True, False]
    """
    ordered = card.ordinal or not card.classes  # of results that are compared, the classes are not known
    return metrics_of(len(card.classes)) | ({KAPPA: KAPPA_FACTS} if ordered else {})
