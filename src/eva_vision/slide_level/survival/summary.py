"""What results.json says of one split of a survival task."""

from collections.abc import Sequence
from functools import partial
from typing import NotRequired

import numpy as np

from eva_core.contracts.results import SplitRecord
from eva_core.statistics.intervals import Intervals
from eva_core.statistics.summary import measured_record
from eva_vision.slide_level.survival.measures import weighted
from eva_vision.slide_level.survival.metric_names import METRICS
from eva_vision.slide_level.survival.targets import Outcomes


class SurvivalSplit(SplitRecord):
    """One reported split, with how many of its samples have the event."""

    n_events: NotRequired[int]


def split_record(
    risks: np.ndarray, last: np.ndarray, outcomes: Outcomes, groups: Sequence[str | None] | None
) -> tuple[SurvivalSplit, Intervals]:
    """What results.json says of one split, and the intervals behind it.

    Args:
        risks: Risks by the selected heads, greater where the event is expected sooner, (R, N).
        last: Those of the heads after their last step, (R, N).
        outcomes: The N patients.
        groups: Patient of each sample; None where nothing is known.
    """
    of_selected, of_last = ([partial(weighted, run, outcomes) for run in of] for of in (risks, last))
    record, intervals = measured_record(of_selected, of_last, len(outcomes.times), groups, METRICS)
    return {**record, "n_events": int(outcomes.events.sum())}, intervals
