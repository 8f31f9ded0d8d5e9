"""Kinds of dataset: what `fit` and `predict` do with one. Each is an entry point of the group `eva.tasks`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from eva_core.contracts.protocol import Protocol
from eva_core.extraction.embed import Extraction
from eva_core.store.store import StoreKey
from eva_core.types import Backbone, Dataset, Head, SegmentationHead

AnyHead = Head | SegmentationHead


@dataclass(frozen=True)
class Job:
    """A model, a dataset, a head and a protocol, each with the name that results carry."""

    model: str
    backbone: Backbone
    dataset: Dataset
    protocol: Protocol
    head_name: str
    head: AnyHead


@dataclass(frozen=True)
class Answer:
    """A score and what it stands on.

    Attributes:
        record: The part of results.json that the task decides: `main`, `selection`, `splits`, `baselines`,
            `contamination`, `confounds`, `mpp`, `selected`, `refit`, `skipped`, `untrained`, `copies`, `report`,
            `cost`.
        heads: Selected parameters by run.
        predictions: The rows of predictions.parquet.
        draws: Bootstrap values of the main metric on the main split, (2000,).
    """

    record: dict[str, Any]
    heads: dict[int, dict[str, Tensor]]
    predictions: pa.Table
    draws: np.ndarray


class Task(ABC):
    """What is particular to a kind of dataset; `eva_core.api` does the rest."""

    head: type
    """The heads that fit it."""

    @abstractmethod
    def refuse(self, job: Job, how: Extraction) -> None:
        """Refuse what cannot be fitted, before anything is extracted.

        Raises:
            UsageError: Labels or splits are missing, or the protocol does not allow what was asked for.
        """

    @abstractmethod
    def refuse_applying(self, job: Job) -> None:
        """Refuse what finished heads cannot be applied to, before anything is extracted.

        Raises:
            UsageError: The protocol makes no answer for whole images.
        """

    @abstractmethod
    def key(self, backbone: Backbone, dataset: Dataset, protocol: Protocol) -> StoreKey:
        """The identity of what is extracted."""

    @abstractmethod
    def extract(
        self,
        key: StoreKey,
        backbone: Backbone,
        dataset: Dataset,
        protocol: Protocol,
        how: Extraction,
        tell: Callable[[str], None],
    ) -> Any:
        """Run the backbone over the dataset, or find it in the cache: a store with `path` and `attributes`."""

    @abstractmethod
    def evaluate(self, job: Job, store: Any, how: Extraction, folder: Path, key: str) -> Answer:
        """Train and score the head.

        Args:
            folder: Of the result: for files of the task's own.
            key: Of the result: what is kept there for a restart is of this key alone.
        """

    def tidy(self, folder: Path) -> None:
        """Remove what was kept for a restart: the result is written."""
        return

    @abstractmethod
    def apply(
        self,
        job: Job,
        store: Any,
        heads: dict[int, dict[str, Tensor]],
        classes: list[str],
        how: Extraction,
        output: Path,
    ) -> Path:
        """Apply finished heads to images; returns what was written below `output`, an existing folder."""
