"""What results.json says of one split of a regression."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from eva_core.contracts.results import SplitRecord
from eva_core.statistics.intervals import Intervals
from eva_core.statistics.summary import measured_record
from eva_vision.regression.folds import weighted_over_folds
from eva_vision.regression.metric_names import METRICS


def split_record(
    predicted: np.ndarray,
    last: np.ndarray,
    targets: np.ndarray,
    outputs: Sequence[str],
    groups: Sequence[str | None] | None,
    wanted: Sequence[str] = tuple(METRICS),
    folds: np.ndarray | None = None,
) -> tuple[SplitRecord, Intervals]:
    """What results.json says of one split of a regression, and the intervals behind it.

    Args:
        predicted: Values predicted by the selected heads, (R, N) or (R, N, G).
        last: Those of the heads after their last step, of the same shape.
        targets: True values, (N,) or (N, G).
        outputs: Names of the G outputs.
        groups: Patient or slide of each sample; None where nothing is known.
        wanted: Names of the metrics; `spearman` of many outputs and samples takes minutes, as it ranks in each draw.
        folds: Fold in which each sample was scored, (N,), over which metrics are averaged; None for one of all.
    """
    of_selected, of_last = (
        [partial(weighted_over_folds, run, targets, folds=folds, outputs=outputs, wanted=wanted) for run in values]
        for values in (predicted, last)
    )
    return measured_record(of_selected, of_last, len(targets), groups, METRICS)
