"""What results.json says of one split of several labels."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from eva_core.contracts.results import SplitRecord
from eva_core.statistics.intervals import Intervals
from eva_core.statistics.summary import measured_record
from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.metrics import calibration_gaps, weighted


def split_record(
    log_odds: np.ndarray,
    last: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    groups: Sequence[str | None] | None,
    names: Sequence[str] = tuple(METRICS),
) -> tuple[SplitRecord, Intervals]:
    """What results.json says of one split of several labels, and the intervals behind it.

    Args:
        log_odds: Log-odds by the selected heads, (R, N, L).
        last: Those of the heads after their last step, of the same shape.
        targets: Shares from 0 to 1, NaN where not annotated, (N, L).
        labels: Names of the L labels.
        groups: Patient or slide of each sample; None where nothing is known.
        names: Names of the metrics.
    """
    of_selected, of_last = (
        [partial(weighted, run, targets, labels, wanted=names) for run in values] for values in (log_odds, last)
    )
    gaps = {}
    if "ece" in names:
        gaps["ece"] = [partial(calibration_gaps, run, targets) for run in log_odds]
        for number, label in enumerate(labels):
            one = [number]
            gaps[f"ece/{label}"] = [partial(calibration_gaps, run[:, one], targets[:, one]) for run in log_odds]
    return measured_record(of_selected, of_last, len(targets), groups, METRICS, gaps)
