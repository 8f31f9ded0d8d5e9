"""Scores of classes of patients or slides: those of images, and comparable by quadratic kappa."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from eva_core.classification.predictions import Predictions, read_predictions
from eva_core.statistics.intervals import members
from eva_core.statistics.permutation import permutation_of_metric
from eva_vision.slide_level.classification.kappa import measured
from eva_vision.slide_level.classification.metric_names import KAPPA, KAPPA_FACTS

if TYPE_CHECKING:
    from eva_core.contracts.results import SplitRecord
    from eva_core.statistics.comparison import Difference
    from eva_core.statistics.intervals import Intervals


@dataclass(frozen=True)
class Grades(Predictions):
    """The scores of one reported split, whose classes may have an order."""

    @override
    def compare(self, other: Predictions, metric: str) -> "Difference":
        if metric != KAPPA:
            return super().compare(other, metric)
        from eva_core.statistics.comparison import paired_measures

        one, two = ([partial(measured, scores, self.targets) for scores in of.scores] for of in (self, other))
        groups = self.known_groups
        return paired_measures(one, two, metric, groups, self.test(other, metric), (-1.0, 1.0))

    @override
    def test(self, other: Predictions, metric: str) -> tuple[float, float]:
        if metric != KAPPA:
            return super().test(other, metric)
        member, _ = members(self.known_groups, len(self.ids))
        if member.max(initial=0) == 0:
            return math.nan, math.nan
        both = np.concatenate([self.targets, self.targets])
        return permutation_of_metric(
            self.scores, other.scores, member, lambda scores, weights: measured(scores, both, weights)[KAPPA]
        )

    @override
    def record(self, names: Sequence[str], last: Predictions | None = None) -> "tuple[SplitRecord, Intervals]":
        """What results.json says of the split: that of images, and quadratic kappa where it is asked for."""
        from eva_core.statistics.summary import measured_record

        record, intervals = super().record(names, last)
        if KAPPA not in names:
            return record, intervals
        at_end = self.scores if last is None else last.scores
        kappas, at_last = ([partial(measured, of_run, self.targets) for of_run in of] for of in (self.scores, at_end))
        groups = self.known_groups
        graded, more = measured_record(kappas, at_last, len(self.targets), groups, {KAPPA: KAPPA_FACTS})
        record["metrics"] |= graded["metrics"]
        for name in ("ci95", "draws", "left_out", "t95"):
            (getattr(intervals, name) or {}).update(getattr(more, name) or {})
        return record, intervals


def read_grades(folder: Path, split: str) -> Grades:
    """The predictions of one split of a finished result.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    read = read_predictions(folder, split)
    return Grades(**{field.name: getattr(read, field.name) for field in fields(read)})
