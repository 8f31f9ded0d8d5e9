"""Registries of models, datasets, heads and commands, filled by entry points: ours and everybody's alike.

Listing reads package metadata and imports nothing; a plugin is imported when its name is asked for.
"""

import difflib
import importlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, TypeVar

from eva_core.errors import UsageError
from eva_core.files.addresses import free_of_secrets

NAME = re.compile(r"[a-z0-9_]+")
FOLDER = "exported"
"""The registered model that is built from the folder of an export."""
Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One registered name: where it comes from and where its code is."""

    name: str
    target: str
    package: str
    version: str
    summary: str
    registered: Any = None
    """The object itself, where a decorator registered it in this process."""

    @property
    def class_path(self) -> str:
        """`module.function`, as jsonargparse wants it."""
        return self.target.replace(":", ".")

    @property
    def origin(self) -> str:
        """The package that registers the name, with its version."""
        return f"{self.package} {self.version}".rstrip()

    def load(self) -> Any:
        """Import the code behind the name.

        Raises:
            UsageError: The plugin does not import; says which package it is in.
        """
        if self.registered is not None:
            return self.registered
        module, _, attribute = self.target.partition(":")
        try:
            with redirect_stdout(sys.stderr):  # stdout is for results
                return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UsageError(
                f"{self.name!r} of {self.origin} does not import ({reason}). Update or uninstall {self.package}."
            ) from error


class Registry:
    """The names of one group."""

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self.group = group or f"eva.{kind}s"
        self._registered: dict[str, Entry] = {}

    def entries(self) -> list[Entry]:
        """Every claim to every name, sorted; a name claimed twice stands twice."""
        claims = {(e.name, e.package, e.target): e for e in [*_installed(self.group), *self._registered.values()]}
        return sorted(claims.values(), key=lambda e: (e.name, e.package))

    def find(self, name: str) -> Entry:
        """The one entry of this name.

        Raises:
            UsageError: Unknown, with close names; claimed by two packages; or not a legal name.
        """
        if name in self._registered:
            return self._registered[name]
        claims = [e for e in self.entries() if e.name == name]
        if len(claims) > 1:
            owners = " and ".join(e.origin for e in claims)
            raise UsageError(f"The {self.kind} name {name!r} is claimed by {owners}. Uninstall one of them.")
        if not claims:
            raise UsageError(self._unknown(name))
        return claims[0]

    def name_of(self, class_path: str) -> str:
        """The registered name of a `module.function` that nobody gave by name, or its last part; of several the first.

        A model that the user names keeps that name: this is for classes of Python and for class paths.
        """
        names = [e.name for e in self.entries() if e.class_path == class_path]
        return names[0] if names else class_path.rpartition(".")[2]

    def load(self, name: str) -> Any:
        """The class or function behind a name, imported now."""
        return self.find(name).load()

    def build(self, name: str, **arguments: Any) -> Any:
        """Call the builder of this name; what it gives keeps the name as `registered_name`."""
        built = self.load(name)(**arguments)
        with suppress(AttributeError, TypeError):  # what has no room for it is known by its class
            built.registered_name = name
        return built

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Decorator for notebooks and tests; packages use an entry point instead."""
        if not NAME.fullmatch(name):
            raise UsageError(f"Expected a {self.kind} name of a-z, 0-9 and _, but got {name!r}.")

        def add(builder: Builder) -> Builder:
            summary = (builder.__doc__ or "").strip().partition("\n")[0]
            target = f"{builder.__module__}:{builder.__qualname__}"
            self._registered[name] = Entry(name, target, "this process", "", summary, builder)
            return builder

        return add

    def _unknown(self, name: str) -> str:
        names = {e.name for e in self.entries()}
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if close:
            hint = f"Did you mean {' or '.join(close)}?"
        elif any(command.name == f"{self.kind}s" for command in commands.entries()):
            hint = f"`eva {self.kind}s` lists them."
        else:
            hint = f"There are {', '.join(sorted(names))}."
        return f"Unknown {self.kind} {name!r}. {hint}"


def _installed(group: str) -> Iterator[Entry]:
    for point_group, entry in _entry_points():
        if point_group == group and NAME.fullmatch(entry.name):
            yield entry


def installed() -> Iterator[Entry]:
    """Every entry of the groups `eva.*`, of all packages."""
    return (entry for _, entry in _entry_points())


@cache  # metadata are parsed anew at each look
def _entry_points() -> tuple[tuple[str, Entry], ...]:
    """All entries of the groups eva.*, each with its group; the first copy of a package on the path counts."""
    seen: set[str] = set()
    entries: list[tuple[str, Entry]] = []
    for dist in distributions():
        try:
            text = dist.read_text("entry_points.txt")
            if not text or "[eva." not in text:
                continue
            package = dist.metadata["Name"]
            key = re.sub(r"[-_.]+", "-", package).lower()
            about = package, dist.version, dist.metadata["Summary"] or ""
            own = [(p.group, Entry(p.name, p.value, *about)) for p in dist.entry_points if p.group.startswith("eva.")]
        except Exception:  # what an installation that was stopped or removed by half leaves may be anything
            _warn_of(dist)
            continue
        if key not in seen:
            seen.add(key)
            entries += own
    return tuple(entries)


def _warn_of(dist: Distribution) -> None:
    """Say which package cannot be read; the others are there all the same."""
    where = getattr(dist, "_path", "a folder of packages")
    warnings.warn(
        f"{where} is an incomplete package: its names are left out. Install it again, or remove it.", stacklevel=2
    )


models = Registry("model")
datasets = Registry("dataset")
heads = Registry("head")
methods = Registry("method")
commands = Registry("command")
tasks = Registry("task")
tissue = Registry("tissue", "eva.tissue")
slide_readers = Registry("slide reader", "eva.slide_readers")
runs = Registry("run")
changes = Registry("change")


def every_group() -> list[Registry]:
    """A registry for each group `eva.*` that an installed package adds to."""
    groups = sorted({group for group, _ in _entry_points()})
    return [Registry(group.removeprefix("eva.").removesuffix("s"), group) for group in groups]


def is_folder(model: str) -> bool:
    """Whether a model is named by a path or as `hf-hub:owner/name`: with a slash, or existing and no package's name."""
    if "/" in model or model.startswith("{"):
        return not model.startswith("{")  # that is JSON
    return Path(model).exists() and all(entry.name != model for entry in models.entries())


def export_in(folder: str) -> str:
    """Folder of the export that a path stands for: that of a training run has one, or has it made; others are theirs.

    Entry points of `eva.runs` are functions of a path, which give the folder of the export; None where it is no run's.
    """
    path = Path(folder).expanduser()
    if not path.exists() or (path / "card.json").exists():
        return folder
    found = (entry.load()(path) for entry in runs.entries())
    return str(next((export for export in found if export is not None), folder))


def build_model(name: str, **arguments: Any) -> Any:
    """Build a registered model under its name, or the one in the folder of an export or a run under that of its run."""
    if is_folder(name):
        name, arguments = FOLDER, {"folder": export_in(name), **arguments}
    builder = models.load(name)
    return with_identity(name, builder, builder(**arguments), arguments)


def with_identity(name: str, builder: Any, backbone: Any, arguments: dict[str, Any]) -> Any:
    """Give a built backbone the name, card and arguments of its builder.

    A builder of many models (no embedding size on its card) leaves name and card to what it built.
    """
    card = getattr(builder, "card", None)
    if card is None or card.dim is not None:
        backbone.name = name
    if card is not None and card.dim is not None:
        backbone.card = card
    backbone.arguments = free_of_secrets({**arguments, **backbone.arguments})  # a part of keys and of stores
    return backbone


def described(name: str, arguments: dict[str, Any]) -> str:
    """A name with its arguments, as results and boards show it.

    Examples:
        >>> described("simpleshot", {"shots": 4, "draws": 10})
        'simpleshot(draws=10,shots=4)'
    """
    inner = ",".join(f"{key}={value}" for key, value in sorted(arguments.items()))
    return f"{name}({inner})" if inner else name


def class_path_of(thing: object) -> str:
    """`module.Class` of an object."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def import_object(path: str) -> Any:
    """The object that a `module.function` names."""
    module, _, attribute = path.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
