"""Jobs built of names: what a command line or a Python call asks for, checked before anything is extracted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from eva_core import registry
from eva_core.config.protocols import heads_of, load_protocol, resolve
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.checks import refuse_wrong_samples
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.extraction.settings import Extraction
from eva_core.identity import settings_of
from eva_core.job import Job
from eva_core.task import task_named


def job_of(
    model: str | Backbone,
    dataset: str | Dataset,
    head: Any = None,
    protocol: str | Protocol = "eva-0.4",
    how: Extraction | None = None,
    *,
    name: str | None = None,
    output: str | Path | None = None,
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
        output: Folder that the user asked for; `~` is the home folder.
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
    folder = None if output is None else Path(output).expanduser()
    return Job(name or backbone.name, backbone, images, whole, resolved, how or Extraction(), head_name, built, folder)


def with_head(job: Job, head: Any = None) -> Job:
    """The same job with another head, the protocol's first unless given; see `job_of`."""
    name, built = _head(head, job.protocol, job.dataset.card)
    return with_protocol(replace(job, head_name=name, head=built), job.protocol)


def with_protocol(job: Job, protocol: Protocol) -> Job:
    """The same job under another protocol."""
    resolved = resolve(protocol, job.dataset.card, job.head_name or None)
    return replace(job, protocol=protocol, resolved=resolved)


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
