"""Risks of patients, and the table of them."""

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
from eva_core.statistics.intervals import members
from eva_core.statistics.permutation import permutation_of_metric
from eva_core.task import Scores
from eva_vision.slide_level.survival.measures import weighted
from eva_vision.slide_level.survival.metric_names import METRICS
from eva_vision.slide_level.survival.targets import Outcomes

if TYPE_CHECKING:
    from eva_core.contracts.results import SplitRecord
    from eva_core.statistics.comparison import Difference
    from eva_core.statistics.intervals import Intervals


@dataclass(frozen=True)
class Risks(Scores):
    """The risks of one reported split.

    Attributes:
        split: Name of the split.
        ids: Ids of the samples, (N,).
        groups: Patient of each, empty where unknown, (N,).
        times: Time of the event, or until which nothing had happened, (N,).
        events: Whether the event happened at that time, (N,) bool.
        risks: Greater where the event is expected sooner, of every run, (R, N).
        strata: Number of the model that gave each risk, such as its fold, (N,); None where one gave all.
        labels: The name of what is predicted.
    """

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    times: np.ndarray
    events: np.ndarray
    risks: np.ndarray
    strata: np.ndarray | None = None
    labels: Sequence[str] = ("risk",)

    @property
    def outcomes(self) -> Outcomes:
        """What is known of the patients."""
        return Outcomes(self.times, self.events, self.strata)

    @override
    def same_truth(self, other: "Risks") -> bool:
        """Whether both have the same time and event for each sample, and the same ones in a fold."""
        return all(
            np.array_equal(one, two)
            for one, two in (
                (self.times, other.times),
                (self.events, other.events),
                (self.outcomes.stratum, other.outcomes.stratum),
            )
        )

    @override
    def compare(self, other: "Risks", metric: str) -> "Difference":
        """Compare with another model on the same samples, by group."""
        from eva_core.statistics.comparison import paired_measures

        one, two = ([partial(weighted, run, of.outcomes, wanted=[metric]) for run in of.risks] for of in (self, other))
        groups = self.known_groups
        return paired_measures(one, two, metric, groups, self.test(other, metric), METRICS[metric].bounds)

    @override
    def test(self, other: "Risks", metric: str) -> tuple[float, float]:
        """Difference and p of the permutation test by group; NaN for a single group."""
        member, _ = members(self.known_groups, len(self.ids))
        if member.max(initial=0) == 0:
            return math.nan, math.nan
        both = self.outcomes.twice()

        def measured(ranks: np.ndarray, weights: np.ndarray) -> np.ndarray:
            return weighted(ranks, both, weights, [metric])[metric]

        return permutation_of_metric(_ranks(self), _ranks(other), member, measured)

    @override
    def record(self, names: Sequence[str], last: "Risks | None" = None) -> "tuple[SplitRecord, Intervals]":
        """What results.json says of the split; see `eva_vision.slide_level.survival.summary.split_record`."""
        from eva_vision.slide_level.survival.summary import split_record

        del names  # all are computed
        groups = self.known_groups
        return split_record(self.risks, self.risks if last is None else last.risks, self.outcomes, groups)


def _ranks(of: Risks) -> np.ndarray:
    """Ranks within each stratum, (R, N): the metrics are the same, and those of two models are of one scale."""
    ranks, stratum = np.empty(of.risks.shape), of.outcomes.stratum
    for number in np.unique(stratum):
        ranks[:, stratum == number] = rankdata(of.risks[:, stratum == number], axis=1)
    return ranks


def risks_table(parts: Sequence[Risks], runs: Sequence[int]) -> pa.Table:
    """One row per sample and run: id, split, run, group, time, event, risk, and fold where there are several."""
    folds = any(part.strata is not None for part in parts)
    tables = []
    for part in parts:
        for run, risks in zip(runs, part.risks, strict=True):
            columns = identity_columns(part, run)
            columns["time"] = pa.array(part.times, pa.float64())
            columns["event"] = pa.array(part.events.astype(bool), pa.bool_())
            columns["risk"] = pa.array(risks, pa.float64())
            if folds:
                strata = part.strata
                columns["fold"] = pa.nulls(len(risks), pa.int32()) if strata is None else pa.array(strata, pa.int32())
            tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_risks(folder: Path, split: str) -> Risks:
    """The risks of one split of a finished result.

    Raises:
        UsageError: The file is missing or damaged, or does not have the split.
    """
    table, ids, groups, runs = read_split(folder, split)
    once = table.slice(0, len(ids))
    strata = None
    if "fold" in table.column_names and once["fold"].null_count == 0:
        strata = once["fold"].to_numpy()
    risks = table["risk"].to_numpy().reshape(runs, -1)
    events = once["event"].to_numpy(zero_copy_only=False)
    return Risks(split, ids, groups, once["time"].to_numpy(), events, risks, strata)
