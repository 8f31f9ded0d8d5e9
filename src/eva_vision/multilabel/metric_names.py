"""The metrics of several labels of an image. Free of torch."""

from eva_core.contracts.metric import Metric

METRICS = {
    "auprc": Metric(),
    "auroc": Metric(chance=0.5),
    "f1": Metric(),
    "brier": Metric(higher_is_better=False),
    "ece": Metric(higher_is_better=False, biased=True),
}
