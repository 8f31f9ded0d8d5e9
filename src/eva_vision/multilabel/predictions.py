"""Scores of several labels, and the table of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.special import expit
from typing_extensions import override

from eva_core.results.predictions import identity_columns, read_split
from eva_core.statistics.intervals import members
from eva_core.statistics.permutation import permutation_of_metric
from eva_core.task import Scores
from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.metrics import weighted

if TYPE_CHECKING:
    from eva_core.contracts.results import SplitRecord
    from eva_core.statistics.comparison import Difference
    from eva_core.statistics.intervals import Intervals

TARGET, SCORE, LOG_ODDS = "target_", "score_", "log_odds_"
_ROUNDING = 1e-4
"""Of probabilities in float32."""


@dataclass(frozen=True)
class LabelScores(Scores):
    """The scores of one reported split.

    Attributes:
        split: Name of the split.
        ids: Ids of the samples, (N,).
        groups: Patient or slide of each sample, empty where unknown, (N,).
        targets: Shares from 0 to 1, NaN where not annotated, (N, L).
        log_odds: Log-odds of each label by every run, float32 (R, N, L).
        labels: Names of the L labels.
        scores: Probabilities as they were read, (R, N, L); None where nothing was read.
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    targets: np.ndarray
    log_odds: np.ndarray
    labels: Sequence[str]
    scores: np.ndarray | None = None

    @override
    def same_truth(self, other: "LabelScores") -> bool:
        """Whether both have the same labels for each sample."""
        return np.array_equal(self.targets, other.targets, equal_nan=True)

    @override
    def compare(self, other: "LabelScores", metric: str) -> "Difference":
        """Compare with another model on the same samples, by group."""
        from eva_core.statistics.comparison import paired_measures

        one, two = (
            [partial(weighted, run, of.targets, of.labels, wanted=[metric]) for run in of.log_odds]
            for of in (self, other)
        )
        tested, facts = self.test(other, metric), METRICS[metric]
        return paired_measures(one, two, metric, self.known_groups, tested, facts.bounds)

    @override
    def test(self, other: "LabelScores", metric: str) -> tuple[float, float]:
        """Difference and p of the permutation test by group; NaN for a single group."""
        member, _ = members(self.known_groups, len(self.ids))
        if member.max(initial=0) == 0:
            return math.nan, math.nan
        both = np.concatenate([self.targets, self.targets])

        def measured(log_odds: np.ndarray, weights: np.ndarray) -> np.ndarray:
            return weighted(log_odds, both, self.labels, weights, [metric])[metric]

        return permutation_of_metric(self.log_odds, other.log_odds, member, measured)

    @override
    def record(self, names: Sequence[str], last: "LabelScores | None" = None) -> "tuple[SplitRecord, Intervals]":
        """What results.json says of the split; see `eva_vision.multilabel.summary.split_record`."""
        from eva_vision.multilabel.summary import split_record

        groups = self.known_groups if any(self.groups) else None
        end = self.log_odds if last is None else last.log_odds
        return split_record(self.log_odds, end, self.targets, self.labels, groups, names)

    @override
    def contradictions(self) -> list[str]:
        """Probabilities that are not those of their log-odds."""
        if self.scores is None:
            return []
        wrong = np.abs(expit(self.log_odds.astype(np.float64)) - self.scores).max(-1)
        run, n = np.unravel_index(np.nan_to_num(wrong, nan=np.inf).argmax(), wrong.shape)
        if wrong[run, n] <= _ROUNDING:
            return []
        off = f"{self.ids[n]} of run {run} is off by {wrong[run, n]:.2g}"
        return [f"Expected probabilities as their log-odds are, but {off}."]


def labels_table(parts: Sequence[LabelScores], runs: Sequence[int]) -> pa.Table:
    """One row per sample and run: id, split, run, group; target, probability and log-odds of each label."""
    tables = []
    for part in parts:
        for run, odds in zip(runs, part.log_odds, strict=True):
            columns = identity_columns(part, run)
            for prefix, values, kind in (
                (TARGET, part.targets, pa.float64()),
                (SCORE, expit(odds.astype(np.float64)), pa.float32()),
                (LOG_ODDS, odds, pa.float32()),
            ):
                for label, column in zip(part.labels, values.T, strict=True):
                    unknown = np.isnan(column) if prefix == TARGET else None
                    columns[f"{prefix}{label}"] = pa.array(column, mask=unknown).cast(kind)
            tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_labels(folder: Path, split: str) -> LabelScores:
    """The scores of one split of a finished result.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = read_split(folder, split)
    labels = [name.removeprefix(LOG_ODDS) for name in table.column_names if name.startswith(LOG_ODDS)]

    def stacked(prefix: str) -> np.ndarray:
        columns = (table[f"{prefix}{label}"].fill_null(math.nan).to_numpy() for label in labels)
        return np.stack([column.reshape(runs, -1) for column in columns], axis=-1)

    targets, scores, odds = (stacked(prefix) for prefix in (TARGET, SCORE, LOG_ODDS))
    return LabelScores(split, ids, groups, targets[0], odds, labels, scores)
