"""How a kind of task on slides scores what heads say."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.results import SplitRecord
from eva_core.contracts.sections import Section
from eva_core.statistics.intervals import Intervals
from eva_vision.slide_level.contracts import Outcome, SlideDataset


@dataclass(frozen=True)
class Said:
    """What heads say of the samples of one split.

    Attributes:
        split: Its name.
        ids: Id of each sample, (N,).
        groups: Patient of each, (N,).
        targets: Target of each, (N, ...).
        outputs: Outputs of the selected heads of every run, (R, N, K).
        last: Outputs of the same heads after their last step, (R, N, K).
        folds: Fold in which each sample was scored, (N,): heads of different folds gave their outputs.
        measures: What heads measure of each sample besides, by name, (R, N) each.
    """

    split: str
    ids: np.ndarray
    groups: np.ndarray
    targets: np.ndarray
    outputs: np.ndarray
    last: np.ndarray
    folds: np.ndarray
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A sample to look at.

    Attributes:
        which: Why this one.
        number: Its number in what was said.
        id: Its id.
        score: What it is known by.
        line: What it is, and what was said of it.
        label: Number of the class that was said, where there are classes.
    """

    which: str
    number: int
    id: str
    score: float
    line: str
    label: int = 0


class Scoring(ABC):
    """What is particular to a kind of outcome.

    Attributes:
        stratified: Whether targets are class numbers.
        by_metadata: Name of the head that is fitted to metadata alone.
        output: What an output is, in a word.
    """

    stratified = False
    output = "output"
    by_metadata: str

    @abstractmethod
    def outcome(self, card: DatasetCard) -> Outcome:
        """What heads learn."""

    @abstractmethod
    def targets(self, stored: np.ndarray, dataset: SlideDataset, card: DatasetCard) -> np.ndarray:
        """Targets of a dataset that finished heads are applied to, as those of the heads' own: unknown ones may be all.

        Args:
            stored: As the store has them, (samples, ...).
            dataset: The dataset.
            card: The same with the classes of the heads.
        """

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

    def examples(self, said: Said, card: DatasetCard) -> list[Example]:
        """Samples to look at: those with the highest, the median and the lowest output, mean over runs."""
        del card
        mean = said.outputs.mean(0)[:, 0]
        order = np.argsort(-self.comparable(mean, said.folds), kind="stable")
        chosen = {"highest": order[0], "median": order[len(order) // 2], "lowest": order[-1]}
        return [
            Example(f"{which} {self.output}", int(n), str(said.ids[n]), float(mean[n]), self._line(said, int(n)))
            for which, n in chosen.items()
        ]

    def comparable(self, outputs: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Outputs of heads of several folds as they compare, (N,): as they are, unless each head has its own scale."""
        del folds
        return outputs

    def _line(self, said: Said, n: int) -> str:
        return f"{said.ids[n]}, {self.output} {said.outputs[:, n, 0].mean():.3g}"

    def of_patches(
        self, outputs: np.ndarray, example: Example, card: DatasetCard
    ) -> tuple[str, np.ndarray, tuple[float, float]]:
        """What is said of each patch alone, mean over runs: (R, n, K) -> its name, (n,), and the ends of a scale."""
        del example, card
        values: np.ndarray = outputs.mean(0)[:, 0]
        return self.output, values, (float(values.min()), float(values.max()))

    def plots(self, predictions: Any, record: SplitRecord) -> list[Section]:
        """Plots of all samples of the main split, which a board shows as well."""
        del predictions, record
        return []
