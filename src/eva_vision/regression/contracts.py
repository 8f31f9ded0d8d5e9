"""Contracts of regression of images: datasets with folds of their own, heads that predict values."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from eva_core.contracts.dataset import Dataset
from eva_core.contracts.head import Embedded, FittedRun
from eva_core.contracts.protocol import Protocol


@dataclass(frozen=True)
class GivenFold:
    """One fold of a published cross-validation, by the groups of its samples.

    Attributes:
        train: Groups that heads learn from.
        test: Groups that are scored; each is in one fold.
    """

    train: Collection[str]
    test: Collection[str]


class FoldedDataset(Dataset):
    """Images that are cross-validated by published folds: all have the split `cv`, and a group."""

    @abstractmethod
    def folds(self) -> Sequence[GivenFold]:
        """The folds, in order."""

    @override
    def fingerprint(self) -> str:
        """SHA-256 over what every dataset is known by, and the folds."""
        digest = hashlib.sha256(super().fingerprint().encode())
        for fold in self.folds():
            digest.update(repr((sorted(fold.train), sorted(fold.test))).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class ValueData:
    """What a head is fitted to.

    Attributes:
        train: What the head learns from: `y` has the values, float64 (N, G).
        groups: Patient or slide of each sample, empty where unknown, (N,), for a head that holds some out.
        runs: Run numbers; run k depends on `protocol.seed + k` alone.
        progress: Called now and then with (work done, all work).
    """

    train: Embedded
    groups: Sequence[str]
    runs: Sequence[int] = (0,)
    progress: Callable[[int, int], None] = lambda *_: None


class RegressionHead(ABC):
    """Learns to predict values from embeddings. Deterministic given the protocol and the run."""

    def runs(self, protocol: Protocol) -> range:
        """Run numbers under a protocol; a head in which nothing is random makes one."""
        return range(protocol.runs)

    @abstractmethod
    def fit(self, data: ValueData, protocol: Protocol) -> list[FittedRun]:
        """Fit the runs of `data`, one result each; `selected_value` is NaN where nothing was held out."""

    @abstractmethod
    def values(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """Embeddings (N, D) -> predicted values, float64 (N, G)."""
