"""Predicted values, and the table of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata
from typing_extensions import override

from eva_core.results.predictions import identity_columns, read_split
from eva_core.statistics.intervals import Measure, members
from eva_core.statistics.permutation import permutation_of_means, permutation_of_metric
from eva_core.task import Scores
from eva_vision.regression.folds import rows_of_folds, weighted_over_folds
from eva_vision.regression.metric_names import METRICS
from eva_vision.regression.metrics import by_output

if TYPE_CHECKING:
    from eva_core.contracts.results import SplitRecord
    from eva_core.statistics.comparison import Difference
    from eva_core.statistics.intervals import Intervals

TARGET, PREDICTED, FOLD = "target_", "predicted_", "fold"


@dataclass(frozen=True)
class Values(Scores):
    """The predicted values of one reported split.

    Attributes:
        split: Name of the split.
        ids: Ids of the samples, (N,).
        groups: Patient or slide of each sample, empty where unknown, (N,).
        targets: True values, NaN where unknown, (N,) or (N, G).
        predicted: Predicted values of every run, (R, N) or (R, N, G).
        labels: Names of the G outputs.
        folds: Fold in which each sample was scored, (N,): then a metric is the mean over folds; None for one of all.
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    targets: np.ndarray
    predicted: np.ndarray
    labels: Sequence[str] = ("value",)
    folds: np.ndarray | None = None

    @override
    def same_truth(self, other: "Values") -> bool:
        """Whether both have the same value for each sample."""
        return np.array_equal(self.targets, other.targets, equal_nan=True)

    @override
    def compare(self, other: "Values", metric: str) -> "Difference":
        """Compare with another model on the same samples, by group."""
        from eva_core.statistics.comparison import paired_measures

        groups = self.known_groups
        one, two = (_measures(of, metric) for of in (self, other))
        return paired_measures(one, two, metric, groups, self.test(other, metric), METRICS[metric].bounds)

    @override
    def test(self, other: "Values", metric: str) -> tuple[float, float]:
        """Difference and p of the permutation test by group; NaN for a single group."""
        member, _ = members(self.known_groups, len(self.ids))
        if member.max(initial=0) == 0:
            return math.nan, math.nan
        if metric in ("r2", "mae"):  # means over samples, which are tested exactly
            return permutation_of_means(_shares(self, metric), _shares(other, metric), member)
        both = np.concatenate([self.targets, self.targets])
        folds = None if self.folds is None else np.concatenate([self.folds, self.folds])

        def measured(predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
            return weighted_over_folds(predicted, both, weights, folds, self.labels, [metric])[metric]

        # models that scale their values otherwise are in one order once both give ranks
        one, two = (_ranks(of) if metric == "spearman" else of.predicted for of in (self, other))
        return permutation_of_metric(one, two, member, measured)

    @override
    def record(self, names: Sequence[str], last: "Values | None" = None) -> "tuple[SplitRecord, Intervals]":
        """What results.json says of the split, of these metrics; see `eva_vision.regression.summary.split_record`."""
        from eva_vision.regression.summary import split_record

        groups = self.known_groups if any(self.groups) else None
        end = self.predicted if last is None else last.predicted
        return split_record(self.predicted, end, self.targets, self.labels, groups, names, self.folds)


def _measures(of: Values, metric: str) -> list[Measure]:
    return [
        partial(weighted_over_folds, run, of.targets, folds=of.folds, outputs=of.labels, wanted=[metric])
        for run in of.predicted
    ]


def _ranks(of: Values) -> np.ndarray:
    """Predicted values as ranks among those of their fold."""
    ranks = np.empty(of.predicted.shape)
    for rows in _parts(of):
        ranks[:, rows] = rankdata(of.predicted[:, rows], axis=1)
    return ranks


def _parts(of: Values) -> list[np.ndarray]:
    return [np.arange(len(of.ids))] if of.folds is None else list(rows_of_folds(of.folds))


def _shares(of: Values, metric: str) -> np.ndarray:
    """What each sample adds to R2 or to the mean absolute error of each run, (R, N): the mean over samples is it."""
    targets = of.targets.reshape(len(of.ids), -1)
    errors = of.predicted.reshape(len(of.predicted), *targets.shape) - targets
    shares, parts = np.full(errors.shape[:2], np.nan), _parts(of)
    defined = [~np.isnan(by_output(targets[rows], targets[rows], np.ones((1, len(rows))), "r2")[0]) for rows in parts]
    counted = len(parts) if metric == "mae" else sum(some.any() for some in defined)
    for rows, some in zip(parts, defined, strict=True):
        weight = len(of.ids) / max(1, counted) / len(rows)
        if metric == "mae":
            shares[:, rows] = weight * np.abs(errors[:, rows]).mean(axis=-1)
        elif some.any():
            squares = errors[:, rows][..., some] ** 2 / targets[rows][:, some].var(axis=0)
            shares[:, rows] = weight * (1 - squares.mean(axis=-1))
        elif counted:
            shares[:, rows] = 0.0  # a fold in which nothing varies is left out of the mean
    return shares


def values_table(parts: Sequence[Values], runs: Sequence[int]) -> pa.Table:
    """One row per sample and run: id, split, run, fold, group, the true and the predicted value of each output."""
    tables = []
    for part in parts:
        targets = part.targets.reshape(len(part.ids), len(part.labels))
        for run, predicted in zip(runs, part.predicted, strict=True):
            fold = {} if part.folds is None else {FOLD: pa.array(part.folds, pa.int32())}
            columns = identity_columns(part, run, **fold)
            for prefix, values in ((TARGET, targets), (PREDICTED, predicted.reshape(targets.shape))):
                for label, column in zip(part.labels, values.T, strict=True):
                    known = np.isnan(column) if prefix == TARGET else None
                    columns[f"{prefix}{label}"] = pa.array(column, pa.float64(), mask=known)
            tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_values(folder: Path, split: str) -> Values:
    """The values of one split of a finished result; of a single output without an axis of outputs.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = read_split(folder, split)
    labels = [name.removeprefix(PREDICTED) for name in table.column_names if name.startswith(PREDICTED)]
    targets, predicted = (
        np.stack([_column(table, f"{prefix}{label}").reshape(runs, -1) for label in labels], axis=-1)
        for prefix in (TARGET, PREDICTED)
    )
    alone = len(labels) == 1
    folds = table[FOLD].to_numpy()[: len(ids)] if FOLD in table.column_names else None
    truth, values = (targets[0, :, 0], predicted[..., 0]) if alone else (targets[0], predicted)
    return Values(split, ids, groups, truth, values, labels, folds)


def _column(table: pa.Table, name: str) -> np.ndarray:
    values: np.ndarray = table[name].fill_null(math.nan).to_numpy()
    return values
