"""Scores of values of patients or slides."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.results import SplitRecord
from eva_core.contracts.sections import Section
from eva_core.statistics.intervals import Intervals
from eva_vision.regression.metric_names import METRICS
from eva_vision.regression.predictions import Values, values_table
from eva_vision.regression.sections import sections_of
from eva_vision.slide_level.contracts import SlideDataset
from eva_vision.slide_level.regression.outcome import Value
from eva_vision.slide_level.scoring import Said, Scoring

_LABELS = ("value",)
_QUARTERS = 4


class ValueScoring(Scoring):
    """Values."""

    by_metadata = "ridge"
    output = "value"

    @override
    def outcome(self, card: DatasetCard) -> Value:
        return Value(card.metric)

    @override
    def targets(self, stored: np.ndarray, dataset: SlideDataset, card: DatasetCard) -> np.ndarray:
        """Values, NaN where unknown."""
        known = any(sample.target is not None for sample in dataset.samples)
        return stored.astype(np.float64) if known else np.full(len(stored), np.nan)

    @override
    def strata(self, targets: np.ndarray) -> np.ndarray:
        """The quarter of the values that each is in."""
        edges = np.nanquantile(targets, np.arange(1, _QUARTERS) / _QUARTERS)
        strata: np.ndarray = np.searchsorted(edges, targets)
        return strata

    @override
    def predictions(self, said: Said, card: DatasetCard) -> Values:
        return Values(said.split, said.ids.tolist(), said.groups.tolist(), said.targets, said.outputs[..., 0], _LABELS)

    @override
    def record(self, said: Said, card: DatasetCard) -> tuple[SplitRecord, Intervals]:
        part = self.predictions(said, card)
        return part.record(tuple(METRICS), replace(part, predicted=said.last[..., 0]))

    @override
    def table(self, parts: Sequence[Any], card: DatasetCard, runs: Sequence[int]) -> pa.Table:
        return values_table(parts, runs)

    @override
    def plots(self, predictions: Values, record: SplitRecord) -> list[Section]:
        """Truth against prediction."""
        return sections_of(predictions, record)
