"""What a task is asked, and what it answers. Tasks import this only when they work: torch is behind it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import ModelCard
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.protocol import Protocol, ResolvedProtocol
from eva_core.contracts.results import TaskRecord
from eva_core.extraction.settings import Extraction


@dataclass(frozen=True)
class Job:
    """All that a command asks for: what is built, and the names that results carry.

    Attributes:
        model: Name of the backbone.
        backbone: The model; one that takes no images for embeddings that another program made.
        dataset: The images.
        protocol: Whole, with the sections of all kinds of task.
        resolved: The protocol as this task and dataset read it.
        how: Device, batch size and the like: nothing that decides a score.
        head_name: Name of the head, with the arguments that are not the default; empty where none is trained.
        head: A head of the class that the task takes.
        output: Folder that the user asked for.
        config: The resolved configuration as YAML, where there is one.
    """

    model: str
    backbone: Backbone
    dataset: Dataset
    protocol: Protocol
    resolved: ResolvedProtocol
    how: Extraction
    head_name: str = ""
    head: Any = None
    output: Path | None = None
    config: str | None = None

    @property
    def card(self) -> ModelCard:
        """The card of the backbone."""
        return self.backbone.card

    @property
    def metric(self) -> str:
        """The main metric of a classification: the protocol's where it names one, else the dataset's."""
        return self.protocol.metrics[0] if self.protocol.metrics else self.dataset.card.metric


@dataclass(frozen=True)
class Answer:
    """A score and what it stands on.

    Attributes:
        record: The part of results.json that the task decides.
        heads: Selected parameters by run.
        predictions: The rows of predictions.parquet.
        draws: Bootstrap values of the main metric on the main split, (2000,).
    """

    record: TaskRecord
    heads: dict[int, dict[str, Tensor]]
    predictions: pa.Table
    draws: np.ndarray
