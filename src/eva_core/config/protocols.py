"""Protocols by name: read once, with the sections of all kinds of task, and resolved for one of them."""

from dataclasses import asdict, field, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser
from omegaconf.errors import OmegaConfBaseException

from eva_core import registry
from eva_core.config.files import find_config, first_reason, read_protocol, shipped
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.protocol import Protocol, ResolvedProtocol
from eva_core.errors import EvaError, UsageError
from eva_core.identity import changed_fields, digest
from eva_core.task import Task, task_named

_WHOLE = "WholeProtocol"


@cache
def protocol_class() -> type[Protocol]:
    """The class of protocols with a section for each kind of task that has one, as a field with its name."""
    sections = []
    for entry in registry.tasks.entries():
        try:
            section = task_named(entry.name).section
        except EvaError:  # a broken plugin is no reason to refuse the tasks of others; `eva doctor` names it
            continue
        if section is not None:
            sections.append((entry.name, section, field(default_factory=section)))
    doc = f"{Protocol.__doc__}".rstrip()
    made = make_dataclass(_WHOLE, sections, bases=(Protocol,), frozen=True, namespace={"__module__": __name__})
    made.__doc__ = doc + "".join(f"\n        {name}: The section of {name}." for name, *_ in sections) + "\n    "
    return made


def __getattr__(name: str) -> Any:
    """The class of whole protocols, where pickle looks for it."""
    if name == _WHOLE:
        return protocol_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_protocol(name: str) -> Protocol:
    """A protocol by name or path.

    Raises:
        UsageError: No such file, or a field that no protocol has.
    """
    path = find_config(name, "protocols")
    return published(name) if path == _shipped(name) else _read(path, name)  # type: ignore[return-value]


@cache
def published(name: str) -> Protocol | None:
    """The protocol of this name as shipped, None where there is none."""
    return _read(_shipped(name), name) if _shipped(name).is_file() else None


def _shipped(name: str) -> Path:
    return shipped("configs") / "protocols" / f"{name}.yaml"


def _read(path: Path, name: str) -> Protocol:
    content = read_protocol(str(path))
    try:
        parser = _protocol_parser()
        protocol: Protocol = parser.instantiate(parser.parse_object({"protocol": content})).protocol
    except (ArgumentError, TypeError, ValueError, OmegaConfBaseException) as error:
        raise UsageError(f"Expected the fields of a protocol in {name}, but: {first_reason(error)}") from error
    return protocol


@cache
def _protocol_parser() -> ArgumentParser:
    """What converts the fields of a protocol: `3e-4` and lists are what they are on the command line."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(protocol_class(), "protocol")
    return parser


def plain(protocol: Protocol) -> dict[str, Any]:
    """The fields of a protocol as YAML holds them."""
    return _lists(asdict(protocol))


def _lists(content: dict[str, Any]) -> dict[str, Any]:
    plain_fields = {k: list(v) if isinstance(v, tuple) else v for k, v in content.items()}
    return {k: _lists(v) if isinstance(v, dict) else v for k, v in plain_fields.items()}


def section_of(protocol: Protocol, dataset: DatasetCard) -> Any:
    """The section of a dataset's task, as it holds for this dataset; None where the task has none."""
    section = _section(protocol, dataset.task)
    as_shipped = published(protocol.name)
    shipped_section = None if as_shipped is None else _section(as_shipped, dataset.task)
    return None if section is None else section.of(dataset.name, shipped_section)


def heads_of(protocol: Protocol, dataset: DatasetCard) -> tuple[str, ...]:
    """The heads that a protocol defines for a dataset; the first is the default."""
    return _heads(protocol, section_of(protocol, dataset))


def resolve(protocol: Protocol, dataset: DatasetCard, head: str | None = None) -> ResolvedProtocol:
    """What a protocol asks of one dataset.

    Args:
        protocol: Whole.
        dataset: Decides the task, and so which fields are read.
        head: Name of the head in use; the protocol's own unless given.
    """
    task, section = task_named(dataset.task), section_of(protocol, dataset)
    heads = _heads(protocol, section)
    as_shipped = published(protocol.name)
    shared = {name: value for name, value in changed_fields(protocol).items() if name in task.reads}
    if "patience" in shared:  # of this dataset alone
        shared["patience"] = {k: v for k, v in shared["patience"].items() if k == dataset.name}
        shared = {name: value for name, value in shared.items() if name != "patience" or value}
    own = {} if section is None else {k: v for k, v in changed_fields(section).items() if k != "heads"}
    departures = _departures(protocol, as_shipped, task, dataset)
    defined = heads if as_shipped is None else _heads(as_shipped, section_of(as_shipped, dataset))
    if head is not None and head not in defined:
        departures["head"] = head
    title = "+".join([protocol.name, *(f"{key}={_short(value)}" for key, value in sorted(departures.items()))])
    return ResolvedProtocol(title, heads, {**shared, **({dataset.task: own} if own else {})}, section)


def _departures(protocol: Protocol, as_shipped: Protocol | None, task: Task, dataset: DatasetCard) -> dict[str, Any]:
    """What differs from the protocol as shipped, of what the task reads; a hash where none is shipped."""
    if as_shipped is not None:
        fields, shipped_fields = (_read_by(task, dataset.task, whole) for whole in (protocol, as_shipped))
        return {name: value for name, value in fields.items() if value != shipped_fields[name]}
    stated = task.always_said(section_of(protocol, dataset))
    named = {f"{dataset.task}.{name}": value for name, value in stated.items()}
    return {"unpublished": digest(changed_fields(protocol))[:8], **named}


def _read_by(task: Task, name: str, protocol: Protocol) -> dict[str, Any]:
    """The fields that decide a score of a task, apart from the heads, which a title names by themselves."""
    values, section = asdict(protocol), _section(protocol, name)
    own = {} if section is None else asdict(section)
    return {
        **{field: values[field] for field in task.reads},
        **{f"{name}.{field}": value for field, value in own.items() if field != "heads"},
    }


def _section(protocol: Protocol, task: str) -> Any:
    """The section of a task; its defaults where a protocol was made without."""
    kind = task_named(task).section
    return None if kind is None else getattr(protocol, task, None) or kind()


def _heads(protocol: Protocol, section: Any) -> tuple[str, ...]:
    return protocol.heads if section is None else section.heads


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{k}:{_short(v)}" for k, v in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ",".join(_short(v) for v in value)
    return str(value)
