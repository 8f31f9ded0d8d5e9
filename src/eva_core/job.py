"""What a task is asked, and what it answers. Tasks import this only when they work: torch is behind it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from eva_core import registry
from eva_core.config.protocols import heads_of, load_protocol, resolve
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.contracts.checks import refuse_wrong_samples
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.protocol import Protocol, ResolvedProtocol
from eva_core.contracts.results import TaskRecord
from eva_core.errors import UsageError
from eva_core.extraction.settings import Extraction
from eva_core.identity import settings_of
from eva_core.task import Task, task_named


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
    def task(self) -> Task:
        """The kind of task of the dataset."""
        return task_named(self.dataset.card.task)

    def with_head(self, head: Any = None) -> "Job":
        """The same job with another head, the protocol's first unless given; see `job_of`."""
        name, built = _head(head, self.protocol, self.dataset.card)
        return replace(self, head_name=name, head=built).with_protocol(self.protocol)

    def with_protocol(self, protocol: Protocol) -> "Job":
        """The same job under another protocol."""
        resolved = resolve(protocol, self.dataset.card, self.head_name or None)
        return replace(self, protocol=protocol, resolved=resolved)


def job_of(
    model: str | Backbone,
    dataset: str | Dataset,
    head: Any = None,
    protocol: str | Protocol = "eva-0.4",
    how: Extraction | None = None,
    *,
    name: str | None = None,
    trains: bool = True,
) -> Job:
    """Build what is given by name: the dataset first, as missing files are found before weights are fetched.

    Args:
        model: A registered name, the folder of an export, or a backbone.
        dataset: A registered name, or a dataset.
        head: A registered name, or a head of the task's kind; the protocol's first unless given.
        protocol: A name under `configs/protocols`, or a protocol.
        how: Device, batch size and the like.
        name: What the result calls the model; its own name unless given.
        trains: Whether there is a head also where none is given.
    Raises:
        UsageError: A name is unknown, the head is for another task, or the dataset gives samples or targets that its
            contract does not allow.
    """
    whole = load_protocol(protocol) if isinstance(protocol, str) else protocol
    images = registry.datasets.build(dataset) if isinstance(dataset, str) else dataset
    refuse_wrong_samples(images)
    task_named(images.card.task).check_targets(images)
    head_name, built = _head(head, whole, images.card) if trains or head is not None else ("", None)
    backbone = registry.build_model(model) if isinstance(model, str) else model
    resolved = resolve(whole, images.card, head_name or None)
    return Job(name or backbone.name, backbone, images, whole, resolved, how or Extraction(), head_name, built)


def _head(head: Any, protocol: Protocol, dataset: DatasetCard) -> tuple[str, Any]:
    """A head, and its registered name with every argument that is not the default: `simpleshot(shots=4)`."""
    heads = heads_of(protocol, dataset)
    head = head or heads[0]
    built = registry.heads.build(head) if isinstance(head, str) else head
    registered = getattr(built, "registered_name", None) or registry.heads.name_of(registry.class_path_of(built))
    name = registry.described(registered, settings_of(built))
    if not task_named(dataset.task).takes(built):
        raise UsageError(
            f"Expected a head for {dataset.task}, but {name} is for another task. "
            f"The protocol defines {' and '.join(heads)} here."
        )
    return name, built


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
