"""Scores of classes, and the table of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.special import expit, logit

from eva_core.results.predictions import identity_columns, read_split
from eva_core.results.record import PREDICTIONS
from eva_core.statistics.intervals import members
from eva_core.task import Scores

if TYPE_CHECKING:
    from eva_core.contracts.results import SplitRecord
    from eva_core.statistics.comparison import Difference
    from eva_core.statistics.intervals import Intervals

SCORE = "score_"
LOG_ODDS = "log_odds_"
MEASURE = "measure_"
HOLDOUT, HOLDOUT_SPLIT = "holdout.parquet", "holdout"
"""File of a result with what its heads say of the part of train that was held out, and what that is called there."""
_ROUNDING = 1e-4
"""Of probabilities in float32."""


@dataclass(frozen=True)
class Predictions(Scores):
    """The scores of one reported split.

    Attributes:
        split: Name of the split.
        ids: Ids of the samples, (N,).
        groups: Patient or slide of each sample, empty where unknown, (N,).
        targets: Class of each, -1 where unknown, (N,).
        scores: Class probabilities of every run, (R, N, C).
        log_odds: Log-odds of each class against the others, (R, N, C); None where only probabilities are known.
        labels: Names of the classes.
        measures: What the head measures of each sample besides its class, by name, (R, N) each.
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    targets: np.ndarray
    scores: np.ndarray
    log_odds: np.ndarray | None = None
    labels: Sequence[str] = ()
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def ranking(self) -> np.ndarray:
        """What AUROC and AUPRC rank by, (R, N, C): log-odds tell apart what rounds to one probability."""
        return logit(self.scores.astype(np.float64)) if self.log_odds is None else self.log_odds

    def ordered(self, metric: str) -> np.ndarray:
        """What a metric is computed from, (R, N, C): AUROC and AUPRC from what ranks, the others from probabilities."""
        return self.ranking if metric in ("auroc", "auprc") else self.scores

    def same_truth(self, other: "Predictions") -> bool:
        """Whether both have the same class for each image."""
        return np.array_equal(self.targets, other.targets)

    def compare(self, other: "Predictions", metric: str) -> "Difference":
        """Compare with another model on the same images, by group."""
        from eva_core.classification.comparison import paired

        groups = self.known_groups
        return paired(self.ordered(metric), other.ordered(metric), self.targets, self.labels, groups, metric)

    def test(self, other: "Predictions", metric: str) -> tuple[float, float]:
        """Difference and p of the permutation test by group; NaN for a single group."""
        from eva_core.classification.permutation import permutation

        member, _ = members(self.known_groups, len(self.ids))
        if member.max() == 0:
            return math.nan, math.nan
        return permutation(self.ordered(metric), other.ordered(metric), self.targets, self.labels, member, metric)

    def record(self, names: Sequence[str], last: "Predictions | None" = None) -> "tuple[SplitRecord, Intervals]":
        """What results.json says of the split; see `eva_core.classification.summary.split_record`."""
        from eva_core.classification.measures import add_measures
        from eva_core.classification.summary import split_record

        end = self if last is None else last
        groups = self.known_groups if any(self.groups) else None
        ranks = self.ranking, end.ranking
        record, intervals = split_record(self.scores, end.scores, self.targets, self.labels, groups, *ranks, names)
        add_measures(record, self.measures, end.measures, groups)
        return record, intervals

    def contradictions(self) -> list[str]:
        """Probabilities that do not add up to 1, or are not those of their log-odds."""
        lines = []
        for wrong, what in (
            (np.abs(self.scores.sum(-1, dtype=np.float64) - 1), "probabilities that add up to 1"),
            (
                np.abs(expit(self.ranking.astype(np.float64)) - self.scores).max(-1),
                "probabilities as their log-odds are",
            ),
        ):
            run, n = np.unravel_index(np.nan_to_num(wrong, nan=np.inf).argmax(), wrong.shape)
            if not wrong[run, n] <= _ROUNDING:
                lines.append(f"Expected {what}, but {self.ids[n]} of run {run} is off by {wrong[run, n]:.2g}.")
        return lines


def predictions_table(parts: Sequence[Predictions], classes: Sequence[str], runs: Sequence[int]) -> pa.Table:
    """One row per sample and run: id, split, run, target, group, score and log-odds of each class, and measures."""
    tables = []
    for part in parts:
        for place, (run, table, log_odds) in enumerate(zip(runs, part.scores, part.ranking, strict=True)):
            targets = pa.array([None if t < 0 else int(t) for t in part.targets], pa.int64())
            columns = identity_columns(part, run, target=targets)
            for number, name in enumerate(classes):
                columns[f"{SCORE}{name}"] = pa.array(table[:, number], pa.float32())
            for number, name in enumerate(classes):
                columns[f"{LOG_ODDS}{name}"] = pa.array(log_odds[:, number], pa.float32())
            for name, values in part.measures.items():
                columns[f"{MEASURE}{name}"] = pa.array(values[place], pa.float64())
            tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_predictions(folder: Path, split: str, file: str = PREDICTIONS) -> Predictions:
    """The predictions of one split of a finished result.

    Args:
        folder: Folder of the result.
        split: Name of the split.
        file: Name of the file that has them.
    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = read_split(folder, split, file)
    names = [name for name in table.column_names if name.startswith(SCORE)]
    classes = [name.removeprefix(SCORE) for name in names]
    by_log_odds = [name for name in (f"{LOG_ODDS}{label}" for label in classes) if name in table.column_names]

    def stacked(columns: list[str]) -> np.ndarray:
        return np.stack([table[name].to_numpy().reshape(runs, -1) for name in columns], axis=-1)

    targets = table["target"].slice(0, len(ids)).fill_null(-1).to_numpy().copy()
    log_odds = stacked(by_log_odds) if by_log_odds else None
    measures = {
        name.removeprefix(MEASURE): stacked([name])[..., 0] for name in table.column_names if name.startswith(MEASURE)
    }
    return Predictions(split, ids, groups, targets, stacked(names), log_odds, classes, measures)
