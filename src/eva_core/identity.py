"""What keys are made of: names, versions, and settings that are not the default; never the place of some code."""

import hashlib
import inspect
import json
import sys
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np

from eva_core import registry
from eva_core.errors import UsageError


def digest(content: Any) -> str:
    """SHA-256 of what JSON can hold, independent of the order of keys.

    Raises:
        UsageError: It holds an object that JSON cannot: its text might be another one in the next process.
    """
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(content: Any) -> str:
    """JSON with its keys sorted, as `digest` takes it.

    Examples:
        >>> canonical({"heads": ("linear", "knn"), "folder": Path("results"), "batch": np.int64(8)})
        '{"batch": 8, "folder": "results", "heads": ["linear", "knn"]}'
    """
    return json.dumps(content, sort_keys=True, default=_plain)


def qualified_name(code: Any) -> str:
    """`distribution:Class` of a class, a function or an object, whichever of its modules the code lies in."""
    code = code if inspect.isclass(code) or inspect.isroutine(code) else type(code)
    return f"{_distribution(code.__module__.partition('.')[0])}:{code.__qualname__}"


def version_of(code: Any) -> int:
    """The `version` that a class states, raised when its output changes; 1 where it states none."""
    version = getattr(code, "version", 1)
    return version if isinstance(version, int) else 1


def settings_of(thing: object) -> dict[str, Any]:
    """Arguments of an object that differ from their defaults, by name.

    Raises:
        UsageError: It keeps an argument under no attribute of that name: two of its kind could not be told apart.
    """
    given = {}
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not hasattr(thing, name):
            raise UsageError(
                f"Expected {type(thing).__name__} to keep its argument {name} as an attribute, so that results can be "
                f"told apart, but it has none. Add self.{name} = {name}."
            )
        value, default = getattr(thing, name), parameter.default
        if default is parameter.empty or canonical(value) != canonical(default):  # a list is as good as a tuple
            given[name] = value
    return given


def changed_fields(settings: Any) -> dict[str, Any]:
    """Fields of a dataclass that differ from their defaults, at every level."""
    changed = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is MISSING or canonical(value) != canonical(default):
            changed[field.name] = changed_fields(value) if is_dataclass(value) else value
    return changed


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value):
        return changed_fields(value)
    raise UsageError(
        f"Expected arguments that JSON can hold, as they are a part of keys, but got {type(value).__name__}. Give "
        "numbers, texts or lists."
    )


@cache
def _distribution(package: str) -> str:
    """The distribution that brings an import package; the package itself where none does, as in a notebook."""
    if package in sys.stdlib_module_names or package == "__main__":
        return package
    registered = {entry.target.partition(".")[0]: entry.package for entry in registry.installed()}
    # to look through all packages takes a second, and finds none that is installed for development
    return registered.get(package) or packages_distributions().get(package, [package])[0]
