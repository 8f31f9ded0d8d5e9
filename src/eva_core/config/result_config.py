"""The configuration of a finished result or an export, read as data: whoever made it may be anybody.

A configuration that a user writes may read the environment and name classes of theirs. One that came with a result may
not: a text is a text, a class is one that an installed package registered, and no address is asked.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from eva_core import registry
from eva_core.config.files import read_yaml, shipped
from eva_core.errors import UsageError

CONFIG = "config.yaml"
TRUST = "--trust"
"""Takes the class paths and addresses that came with a result."""
BESIDE = ("results.json", "card.json")
"""One of them lies beside the configuration of a result or an export."""
REGISTRIES = {
    "model": registry.models,
    "dataset": registry.datasets,
    "dense_dataset": registry.datasets,
    "head": registry.heads,
    "method": registry.methods,
}
_DOLLAR = "\ue0e7"
"""Stands for the dollar of `${` in the parser: of no meaning, and in no name. A backslash would not do: jsonargparse
resolves parts of a configuration again."""
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MOST = 20_000
"""Values in one configuration; few lines of YAML may stand for billions."""


def came_with_a_result(path: Path) -> bool:
    """Whether a file is the configuration of a result or an export, and not one that somebody wrote."""
    return path.name == CONFIG and any((path.parent / name).is_file() for name in BESIDE)


def read_task_config(path: Path) -> dict[str, Any]:
    """The configuration of a task, as a board or a study names it; what came with a result is data there too.

    Raises:
        UsageError: It does not parse, or asks for what no installed package registers.
    """
    return read_result_config(path) if came_with_a_result(path) else read_yaml(path)


def literal(text: str) -> str:
    """A text that OmegaConf leaves alone, and `as_written` turns back."""
    return text.replace("${", f"{_DOLLAR}{{")


def as_written(value: Any) -> Any:
    """A value with every text in it as it was before `literal`."""
    if isinstance(value, str):
        return value.replace(_DOLLAR, "$")
    if isinstance(value, list | tuple):
        return type(value)(as_written(item) for item in value)
    if isinstance(value, dict):
        return {k: as_written(v) for k, v in value.items()}
    return value


def read_result_config(path: Path, given: Collection[str] = (), trust: bool = False) -> dict[str, Any]:
    """The configuration of a result or an export, fit for the parser.

    Args:
        path: The file.
        given: Flags of the command line: what they set is not taken from the file.
        trust: Take class paths, transforms and addresses as they are.
    Raises:
        UsageError: Names what no installed package registers, or the address that it asks for.
    """
    content = read_yaml(path)
    _refuse_size(content, path)
    content.pop("base", None)  # a resolved configuration stands for itself
    content.pop("output", None)  # which ours leave out
    content = {key: _without(value, key, given) for key, value in content.items() if not _replaced(key, value, given)}
    if not trust:
        for key, value in content.items():
            _refuse_foreign(str(key), value, path)
    return {key: _literal(value) for key, value in content.items()}


def _replaced(key: str, value: Any, given: Collection[str]) -> bool:
    """Whether the command line names this part anew; arguments of a class that is known stay, for the same class."""
    return f"--{key}" in given and (key not in REGISTRIES or _unknown(key, value) is not None)


def _without(value: Any, key: str, given: Collection[str]) -> Any:
    """A part without the arguments that the command line gives."""
    if not isinstance(value, dict):
        return value
    remaining = {k: v for k, v in value.items() if f"--{key}.{k}" not in given}
    return {k: _without(v, key, given) if k in ("init_args", "dict_kwargs") else v for k, v in remaining.items()}


def _refuse_foreign(key: str, value: Any, path: Path) -> None:
    """Refuse what would be imported, called or asked for, in one part of a configuration."""
    name = _unknown(key, value) if key in REGISTRIES else None
    if name is not None:
        raise UsageError(
            f"Refused the {key} {name!r} of {path}: no installed package registers it, so that it is not imported. "
            f"Install its package, name another by --{key}, or add --trust if you know who made this result."
        )
    if key == "protocol":
        _refuse_protocol(value, path)
    if key == "logger" and value is not None:
        raise UsageError(
            f"Refused the logger of {path}: it would write, or send to somebody's server, what it says itself. Give "
            "--logger, or add --trust if you know who made this result."
        )
    for text in _texts(value):
        if "class_path" in text:
            raise UsageError(
                f"Refused {key} of {path}: it names code that no installed package registers. "
                "Add --trust if you know who made this result."
            )
        if _ADDRESS.match(text):
            raise UsageError(
                f"Refused {key} of {path}: it would ask {text.partition('?')[0][:80]!r}. Give the address again, as "
                f"--{key}.ARGUMENT ADDRESS, or add --trust if you know who made this result."
            )


def _refuse_protocol(value: Any, path: Path) -> None:
    names = {p.stem for p in (shipped("configs") / "protocols").glob("*.yaml")}
    if isinstance(value, str) and value not in names:
        raise UsageError(f"Refused the protocol {value!r} of {path}: eva ships none of this name. Give --protocol.")
    transform = value.get("transform") if isinstance(value, dict) else None
    if transform is not None and transform not in _transforms():
        raise UsageError(
            f"Refused protocol.transform {transform!r} of {path}: no protocol of eva has it, so that it is not "
            "imported. Give --protocol.transform, or add --trust if you know who made this result."
        )


def _transforms() -> set[str]:
    """Those of the protocols that eva ships, and the one that stands where a protocol names none."""
    from eva_core.contracts.protocol import Protocol

    shipped_ones = (read_yaml(p).get("transform") for p in (shipped("configs") / "protocols").glob("*.yaml"))
    return {Protocol("").transform, *filter(None, shipped_ones)}


def _unknown(kind: str, value: Any) -> str | None:
    """The name or class path of a part that no package registered; None where one did, or nothing is named."""
    name = value.get("class_path") if isinstance(value, dict) else value
    if name is None and not isinstance(value, dict):
        return None
    entries = REGISTRIES[kind].entries()
    if isinstance(name, str) and any(name in (entry.name, entry.class_path) for entry in entries):
        return None
    if kind == "model" and isinstance(name, str) and "{" not in name and registry.is_folder(name):
        return None
    return str(name)


def _texts(value: Any) -> list[str]:
    """Every text in a value, keys included; but not the class path of what is known."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        known = _known_class(value.get("class_path"))
        return [text for k, v in value.items() if not (known and k == "class_path") for text in _texts([str(k), v])]
    return []


def _known_class(path: Any) -> bool:
    """Whether a class path is one that an installed package registered."""
    return isinstance(path, str) and any(
        path in (e.name, e.class_path) for names in REGISTRIES.values() for e in names.entries()
    )


def _literal(value: Any) -> Any:
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {k: _literal(v) for k, v in value.items()}
    return value


def _refuse_size(content: Any, path: Path) -> None:
    pending, count = [content], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > _MOST:
            raise UsageError(f"Expected the configuration of a result in {path}, but it has over {_MOST:,} values.")
        if isinstance(value, dict | list):
            pending += [*value.keys(), *value.values()] if isinstance(value, dict) else value
