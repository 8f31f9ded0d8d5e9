"""Scores of risks of patients."""

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
from eva_vision.slide_level.contracts import SlideDataset
from eva_vision.slide_level.scoring import Said, Scoring
from eva_vision.slide_level.survival.outcome import Risk
from eva_vision.slide_level.survival.predictions import Risks, risks_table
from eva_vision.slide_level.survival.sections import sections_of


class RiskScoring(Scoring):
    """Risks; those of different folds do not compare, so that pairs count within a fold alone."""

    by_metadata = "cox"
    output = "risk"

    @override
    def outcome(self, card: DatasetCard) -> Risk:
        return Risk(card.metric)

    @override
    def targets(self, stored: np.ndarray, dataset: SlideDataset, card: DatasetCard) -> np.ndarray:
        """Times and events, NaN where unknown."""
        return stored if stored.ndim == 2 else np.full((len(stored), 2), np.nan)

    @override
    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Whether the event happened."""
        events: np.ndarray = np.nan_to_num(targets[:, 1]).astype(np.int64)
        return events

    @override
    def predictions(self, said: Said, card: DatasetCard) -> Risks:
        times, events = said.targets.T
        strata = said.folds if said.folds.any() else None
        ids, groups = said.ids.tolist(), said.groups.tolist()
        return Risks(said.split, ids, groups, times, events == 1, said.outputs[..., 0], strata)

    @override
    def record(self, said: Said, card: DatasetCard) -> tuple[SplitRecord, Intervals]:
        part = self.predictions(said, card)
        return part.record((), replace(part, risks=said.last[..., 0]))

    @override
    def table(self, parts: Sequence[Any], card: DatasetCard, runs: Sequence[int]) -> pa.Table:
        return risks_table(parts, runs)

    @override
    def comparable(self, outputs: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """The share of its fold that has a lower risk."""
        shares = np.zeros(len(outputs))
        for fold in np.unique(folds):
            inside = folds == fold
            ranks: np.ndarray = outputs[inside][:, None] > outputs[inside]
            shares[inside] = ranks.mean(1)
        return shares

    @override
    def plots(self, predictions: Risks, record: SplitRecord) -> list[Section]:
        """Kaplan-Meier, where it is defined."""
        del record
        return sections_of(predictions)
