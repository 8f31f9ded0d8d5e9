"""Key of a run: a hash of the settings that change its weights, each spelled one way, defaults left out.

An output folder keeps these settings beside its key. What differs from them is named, and refused; all else is free to
change: devices and accumulation with the same batch over all, reading, logs, compilation, checkpointing, names.
"""

import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from eva_core import registry
from eva_core.accelerator import gpus
from eva_core.files.addresses import free_of_secrets, is_address, stable
from eva_core.identity import canonical, digest, qualified_name, version_of

BATCH = "batch over all devices"
"""Setting that stands for batch size, devices, nodes and accumulation."""
_NOTHING = frozenset(
    {"config", "output", "name", "most_skipped", "monitor", "dataset", "dense_dataset", "logger", "export"}
)
"""Parts and settings that change no weight."""
_ASIDE = {"data": {"workers", "prefetch", "batch_size"}, "vit": {"compile", "checkpointing"}}
"""Settings that change no weight, or are a part of the batch, by part."""
_ONLY = {"training": {"precision"}}
"""The settings that change weights, in parts where most do not."""
_FILES = ("sampling.exclude", "sampling.table")
"""Settings that name a file: its content enters the key, not its name."""
STEPS = "recipe.steps"
_SOURCES = ("data.folder", "data.slides")
_WEIGHTS = re.compile(r"\.(ckpt|pth|pt|bin|safetensors)$")
_HASH = "content "
Settings = dict[str, Any]
"""Settings that change weights and differ from their defaults, by the name of their flag."""


def settings_of(
    method: type, arguments: Mapping[str, Any], parts: Mapping[str, Any], seed: int, batch: int | None
) -> Settings:
    """List the settings that change the weights of a run, each spelled one way, without defaults.

    Args:
        method: Class of the method.
        arguments: Arguments of the method.
        parts: Settings by part (`data`, `vit`, ...): dataclasses.
        seed: Seed of the run.
        batch: Patches of an optimiser step over all devices; None where unknown.
    """
    values = {name: {f.name: getattr(part, f.name) for f in fields(part)} for name, part in parts.items()}
    return _settings(name_of(method), method, arguments, values, {n: type(p) for n, p in parts.items()}, seed, batch)


def settings_in(
    config: Mapping[str, Any], method: type, parts: Mapping[str, type], batch: int | None = None
) -> Settings:
    """List the same settings of a resolved configuration, of any version of eva.

    Args:
        config: The configuration.
        method: Class whose defaults count where the configuration names it.
        parts: Classes of the settings, by part.
        batch: Patches of an optimiser step over all devices; None where unknown.
    """
    given = config.get("method") or {}
    path = str(given.get("class_path") if isinstance(given, Mapping) else given)
    name, kind = _named(path, method)
    arguments = (given.get("init_args") if isinstance(given, Mapping) else None) or {}
    values = {part: config.get(part) or {} for part in parts}
    return _settings(name, kind, arguments, values, parts, config.get("seed", 0), batch)


def key_of(settings: Settings) -> str:
    """Hash settings with SHA-256; an address whose signature was renewed is the same."""
    return digest(stable(settings))


def stored(key: str, settings: Settings) -> str:
    """Text of the file that keeps the key and the settings of a run, without what opens an address."""
    return json.dumps({"key": key, "settings": free_of_secrets(settings)}, indent=1, sort_keys=True) + "\n"


def read_stored(path: Path) -> tuple[str, Settings | None]:
    """Read the key and the settings of a run; None for the settings where an earlier version kept the key alone."""
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        return str(content["key"]), dict(content["settings"])
    except (ValueError, KeyError, TypeError):
        return text.strip(), None


def differences(then: Settings, now: Settings) -> list[str]:
    """Names of the settings that differ; those that one of the two does not know (None) are left out."""
    then, now = ({k: json.loads(canonical(free_of_secrets(v))) for k, v in part.items()} for part in (then, now))
    names = [*now, *(name for name in then if name not in now)]
    unknown = {BATCH} if None in (then.get(BATCH), now.get(BATCH)) else set()
    return [name for name in names if name not in unknown and then.get(name) != now.get(name)]


def shown(name: str, settings: Settings, config: Mapping[str, Any]) -> str:
    """Value of a setting for a message: from the settings, else, as a default, from the configuration."""
    value = settings.get(name)
    if value is None:
        part, _, rest = name.partition(".")
        place: Any = config.get(part)
        if part == "method" and isinstance(place, Mapping):
            place = place.get("init_args") if rest else place.get("class_path")
        if name == STEPS and isinstance(place, Mapping) and place.get("schedule_steps"):
            rest = "schedule_steps"
        for step in rest.split(".") if rest else ():
            place = place.get(step) if isinstance(place, Mapping) else None
        value = place
    return "none" if value is None else str(free_of_secrets(value))


def name_of(method: type) -> str:
    """Registered name of a method, that of its own package first; the qualified name where none is registered."""
    qualified = qualified_name(method)
    path = f"{method.__module__}.{method.__qualname__}"
    entries = [e for e in registry.methods.entries() if e.class_path == path]
    names = [(not qualified.startswith(f"{e.package}:"), e.name) for e in entries]
    return min(names)[1] if names else qualified


def _settings(
    name: str,
    method: type | None,
    arguments: Mapping[str, Any],
    values: Mapping[str, Mapping[str, Any]],
    parts: Mapping[str, type],
    seed: int,
    batch: int | None,
) -> Settings:
    settings: Settings = {"method": name}
    if method is not None and version_of(method) != 1:
        settings["method version"] = version_of(method)
    defaults = {} if method is None else _defaults_of_arguments(method)
    settings.update(_changed("method", arguments, defaults))
    for part, kind in parts.items():
        if part not in _NOTHING:
            settings.update(_changed(part, values[part], _defaults(kind)))
    schedule = settings.pop("recipe.schedule_steps", None)
    if schedule is not None:  # it decides the weights of each step; `steps` then says only where the run ends
        settings.pop(STEPS, None)
        settings.update(_changed("recipe", {"steps": schedule}, _defaults(parts["recipe"])))
    if seed:
        settings["seed"] = seed
    settings[BATCH] = batch
    usual = "bf16-mixed" if gpus() else "32-true"
    if settings.get("training.precision") == usual:  # what `auto` stands for here
        del settings["training.precision"]
    return settings


def _changed(part: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings of a part that change weights and are not the default, under the full names of their flags."""
    for name, value in values.items():
        if name in _ASIDE.get(part, ()) or name not in _ONLY.get(part, {name}):
            continue
        if name in defaults and canonical(value) == canonical(defaults[name]):
            continue
        if isinstance(value, Mapping):
            yield from _changed(f"{part}.{name}", value, {})
        else:
            yield f"{part}.{name}", _spelled(f"{part}.{name}", value)


def _spelled(name: str, value: Any) -> Any:
    """Value in the one way of writing it: paths without links, files by their content, tuples as lists."""
    if not isinstance(value, str | Path):
        return json.loads(canonical(value))
    text = str(value)
    if name in _FILES:  # one more slide to exclude makes it another run
        file = Path(text).expanduser()
        return _HASH + hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else text
    weights = name in ("vit.start", "method.backbone") and (_WEIGHTS.search(text) or "/" in text or Path(text).exists())
    if (name in _SOURCES or weights) and not is_address(text) and not text.startswith(("hf-hub:", "hf_hub:")):
        return os.path.realpath(os.path.expanduser(text))
    return text


def _defaults(kind: Any) -> dict[str, Any]:
    """Defaults of a dataclass."""
    found = {}
    for field in fields(kind):
        if field.default_factory is not MISSING:
            found[field.name] = field.default_factory()
        elif field.default is not MISSING:
            found[field.name] = field.default
    return found


def _defaults_of_arguments(method: type) -> dict[str, Any]:
    parameters = inspect.signature(method).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not p.empty}


def _named(path: str, method: type) -> tuple[str, type | None]:
    """Name and class of a method that a configuration calls by name or by a path, whose module may be gone."""
    wanted = name_of(method)
    if path == wanted or path.rpartition(".")[2].lower() == wanted:  # earlier versions wrote `eva_pretrain.dino.Dino`
        return wanted, method
    return path.rpartition(".")[2].lower(), None
