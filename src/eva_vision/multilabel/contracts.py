"""What a head for several labels of an image promises."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from eva_core.contracts.head import Embedded, FittedRun
from eva_core.contracts.protocol import Protocol


@dataclass(frozen=True)
class LabelData:
    """What a head is fitted to.

    Attributes:
        train: What the head learns from: `y` has the labels, float64 (N, L) from 0 to 1, NaN where not annotated.
        select: What chooses the regularisation, of the same form.
        metric: What is best on `select` in what is chosen, one of `eva_vision.multilabel.metric_names.METRICS`.
        runs: Run numbers; run k depends on `protocol.seed + k` alone.
        progress: Called now and then with (work done, all work).
    """

    train: Embedded
    select: Embedded
    metric: str
    runs: Sequence[int] = (0,)
    progress: Callable[[int, int], None] = lambda *_: None


class LabelHead(ABC):
    """Learns to score labels from embeddings, each by itself. Deterministic given the protocol and the run."""

    def runs(self, protocol: Protocol) -> range:
        """Run numbers under a protocol; a head in which nothing is random makes one."""
        return range(protocol.runs)

    @abstractmethod
    def fit(self, data: LabelData, protocol: Protocol) -> list[FittedRun]:
        """Fit the runs of `data`, one result each."""

    @abstractmethod
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """Embeddings (N, D) -> log-odds of each label, (N, L)."""
