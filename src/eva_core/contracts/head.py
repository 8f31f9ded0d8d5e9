"""What a head promises: to learn from embeddings, and to score."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from eva_core.contracts.protocol import Protocol


@dataclass(frozen=True)
class Embedded:
    """Embeddings of one split with their labels.

    Attributes:
        x: Embeddings, float32 (N, D).
        y: Class numbers, int64 (N,); of other kinds of task what they learn, (N, ...).
        groups: Patient or slide of each, empty where unknown, (N,); None where nobody knows any.
    """

    x: Tensor
    y: Tensor
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class FittingData:
    """What a head is fitted to.

    Attributes:
        train: What the head learns from.
        select: What chooses the checkpoint or the regularisation.
        classes: Number of classes C.
        runs: Run numbers; run k depends on `protocol.seed + k` alone.
        metric: What is best on `select` in what is chosen, one of `eva_core.classification.metric_names.METRICS`.
        patience: Evaluations without improvement before a run stops; None: it never does.
        progress: Called now and then with (work done, all work).
    """

    train: Embedded
    select: Embedded
    classes: int
    runs: Sequence[int] = (0,)
    metric: str = "balanced_accuracy"
    patience: int | None = None
    progress: Callable[[int, int], None] = lambda *_: None


@dataclass(frozen=True)
class FittedRun:
    """One run of a head.

    Attributes:
        run: Its number, counted from 0.
        params: The selected parameters, by name, CPU float32.
        last: The parameters after the last step; the same as `params` where nothing was selected over time.
        selected_value: Main metric on the samples that selected.
        selected: What was chosen, for the report: {"step": 400} or {"C": 0.01}.
        held: The parameters before the head learnt from what selected them, where it did so in the end; else None.
    """

    run: int
    params: dict[str, Tensor]
    last: dict[str, Tensor]
    selected_value: float
    selected: dict[str, float]
    held: dict[str, Tensor] | None = None


class Head(ABC):
    """Learns to score classes from embeddings. Deterministic given the protocol and the run."""

    def runs(self, protocol: Protocol) -> range:
        """Run numbers under a protocol; a head in which nothing is random makes one."""
        return range(protocol.runs)

    @abstractmethod
    def fit(self, data: FittingData, protocol: Protocol) -> list[FittedRun]:
        """Fit the runs of `data`, one result each."""

    @abstractmethod
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """Embeddings (N, D) -> (N, C) class logits, or (N, 1) where a binary head has a single one."""

    def answers(self, params: dict[str, Tensor], data: Embedded) -> Tensor:
        """As `logits`, for samples of which more than the embedding is known: what scores are made from."""
        return self.logits(params, data.x)

    def measures(self, params: dict[str, Tensor], data: Embedded) -> dict[str, Tensor]:
        """What else is measured of each sample of known class, by name: results state the means beside the metrics.

        Returns:
            Between 0 and 1, the higher the better, (N,) each; nothing for most heads.
        """
        del params, data
        return {}
