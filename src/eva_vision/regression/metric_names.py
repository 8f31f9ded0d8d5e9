"""The metrics of predicted values. Free of torch."""

import math

from eva_core.contracts.metric import Metric

METRICS = {
    "r2": Metric(bounds=(-math.inf, 1.0), chance=0.0),
    "pearson": Metric(bounds=(-1.0, 1.0), chance=0.0),
    "spearman": Metric(bounds=(-1.0, 1.0), chance=0.0),
    "mae": Metric(higher_is_better=False, bounds=(0.0, math.inf)),
}
