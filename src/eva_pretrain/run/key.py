"""Key of a run: a hash of all that decides its weights, unchanged when code moves or gains a setting."""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eva_core import registry
from eva_core.files.addresses import stable
from eva_core.identity import canonical, changed_fields, digest, qualified_name, version_of

_ASIDE = {
    "": ("config", "output", "monitor", "dataset", "logger", "export"),
    "data": ("workers", "prefetch"),
    "training": ("checkpoint_every", "log_every"),
}
"""Settings that do not change the weights, by part: output, monitor and logs, speed of reading."""
_FILES = ("exclude", "table")
"""Settings of the sampling that name a file: its content enters the key, not its name."""


def key_of(
    method: type, arguments: Mapping[str, Any], parts: Mapping[str, Any], others: Mapping[str, tuple[Any, Any]]
) -> str:
    """Hash what decides the weights of a run with SHA-256.

    Args:
        method: Class of the method.
        arguments: Arguments of the method.
        parts: Settings by part (`data`, `vit`, ...), dataclasses.
        others: Settings outside of the parts: (value, default) by name.
    """
    content: dict[str, Any] = {
        "method": {
            "name": name_of(method),
            "version": version_of(method),
            "arguments": _changed(method, arguments),
        }
    }
    for name, part in parts.items():
        if name not in _ASIDE[""]:
            content[name] = {k: v for k, v in changed_fields(part).items() if k not in _ASIDE.get(name, ())}
    for name in _FILES:  # one more slide to exclude makes it another run
        file = content.get("sampling", {}).get(name)
        if file is not None and Path(file).is_file():
            content["sampling"][name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    for name, (value, default) in others.items():
        if value != default:
            content[name] = value
    return digest(stable(content))


def name_of(method: type) -> str:
    """Registered name of a method, that of its own package first; the qualified name where none is registered."""
    qualified = qualified_name(method)
    path = f"{method.__module__}.{method.__qualname__}"
    entries = [e for e in registry.methods.entries() if e.class_path == path]
    names = [(not qualified.startswith(f"{e.package}:"), e.name) for e in entries]
    return min(names)[1] if names else qualified


def _changed(method: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a method that differ from their defaults."""
    parameters = inspect.signature(method).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    return {k: v for k, v in arguments.items() if k not in defaults or canonical(v) != canonical(defaults[k])}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """List the settings that decide weights and differ between two resolved configurations.

    Args:
        then: Configuration of an earlier run, of any version of eva.
        now: Configuration of the run to start.

    Returns:
        Name, value then and value now of each; None where a setting is not set.
    """
    old, new = dict(_settings(then)), dict(_settings(now))
    names = [*new, *(name for name in old if name not in new)]
    return [(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _settings(content: Mapping[str, Any], part: str = "") -> Iterator[tuple[str, Any]]:
    """Settings that decide weights, each under its full name as in a flag."""
    for name, value in content.items():
        if name in _ASIDE.get(part, ()):
            continue
        if part == "method" and name == "class_path":
            yield part, str(value).rpartition(".")[2].lower()  # an earlier version wrote `eva_pretrain.dino.Dino`
        elif part == "method" and name == "init_args":
            yield from _settings(value, part)
        elif isinstance(value, dict):
            yield from _settings(value, f"{part}.{name}".strip("."))
        else:
            yield f"{part}.{name}".strip("."), value
