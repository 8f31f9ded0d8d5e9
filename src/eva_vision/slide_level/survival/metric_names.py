"""The metrics of a risk. Free of torch."""

from eva_core.contracts.metric import Metric

METRICS = {name: Metric(chance=0.5) for name in ("c_harrell", "c_uno", "auc_t")}
"""Concordance of Harrell and of Uno; mean of the time-dependent AUC at the quartiles of the event times."""
