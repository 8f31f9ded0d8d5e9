"""How a kind of task on slides scores what heads say."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.results import SplitRecord
from eva_core.statistics.intervals import Intervals
from eva_vision.slide_level.contracts import Outcome


@dataclass(frozen=True)
class Said:
    """What heads say of the samples of one split.

    Attributes:
        split: Its name.
        ids: Id of each sample, (N,).
        groups: Patient of each, (N,).
        targets: Target of each, (N, ...).
        outputs: Of the selected heads of every run, (R, N, K).
        last: Of the same heads after their last step, (R, N, K).
        folds: Fold in which each sample was scored, (N,): heads of different folds gave their outputs.
    """

    split: str
    ids: np.ndarray
    groups: np.ndarray
    targets: np.ndarray
    outputs: np.ndarray
    last: np.ndarray
    folds: np.ndarray


class Scoring(ABC):
    """What is particular to a kind of outcome.

    Attributes:
        stratified: Whether targets are class numbers.
        by_metadata: Name of the head that is fitted to metadata alone.
    """

    stratified = False
    by_metadata: str

    @abstractmethod
    def outcome(self, card: DatasetCard) -> Outcome:
        """What heads learn."""

    @abstractmethod
    def strata(self, targets: np.ndarray) -> np.ndarray:
        """A class number for each sample, of which every fold gets its share: targets (N, ...) -> (N,)."""

    @abstractmethod
    def predictions(self, said: Said, card: DatasetCard) -> Any:
        """The predictions of a split, as `Task.read` gives them."""

    @abstractmethod
    def record(self, said: Said, card: DatasetCard) -> tuple[SplitRecord, Intervals]:
        """What results.json says of a split."""

    @abstractmethod
    def table(self, parts: Sequence[Any], card: DatasetCard, runs: Sequence[int]) -> pa.Table:
        """The rows of predictions.parquet."""
