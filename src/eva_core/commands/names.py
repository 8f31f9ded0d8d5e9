"""`eva models`, `eva datasets`, `eva heads`: what is installed, without importing it; with a name, its card."""

import inspect
import json
from dataclasses import asdict
from typing import Any

from eva_core import registry
from eva_core.errors import UsageError, some
from eva_core.registry import Registry, is_folder
from eva_core.shown import visible


def models(argv: list[str]) -> int:
    if len(argv) == 1 and is_folder(argv[0]):
        print(_show_folder(argv[0]))
        return 0
    return _names(registry.models, argv)


def datasets(argv: list[str]) -> int:
    return _names(registry.datasets, argv)


def heads(argv: list[str]) -> int:
    return _names(registry.heads, argv)


def _names(names: Registry, argv: list[str]) -> int:
    if argv in (["-h"], ["--help"]):
        print(f"usage: eva {names.kind}s [NAME]\n\nList the {names.kind}s of all installed packages, or show one.")
        return 0
    if len(argv) > 1 or (argv and argv[0].startswith("-")):
        raise UsageError(f"Expected `eva {names.kind}s [NAME]`, but got {' '.join(argv)!r}.")
    print(_show(names, argv[0]) if argv else _list(names))
    return 0


def _list(names: Registry) -> str:
    rows = [("NAME", "PACKAGE", "SUMMARY"), *((e.name, e.origin, e.summary) for e in names.entries())]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows)


def _show(names: Registry, name: str) -> str:
    entry = names.find(name)
    builder = entry.load()
    lines = [f"{name}  ({entry.origin}, {entry.class_path})", inspect.cleandoc(builder.__doc__ or ""), ""]
    card = getattr(builder, "card", None)
    if card is not None:
        lines += _card(card)
    arguments = [str(p) for p in inspect.signature(builder).parameters.values()]
    lines += ["", f"  arguments: {', '.join(arguments) or 'none'}"]
    return "\n".join(lines)


def _show_folder(folder: str) -> str:
    """The card of an export, whose weights are checked on the way."""
    built = registry.build_model(folder)
    return "\n".join([visible(f"{built.name}  ({folder})"), "", *_card(built.card)])


def _card(card: Any) -> list[str]:
    return [f"  {key:<14} {visible(_plain(value))}" for key, value in asdict(card).items()]


def _plain(value: Any) -> str:
    """`?` for what nobody could cite; of a long list its beginning."""
    if value in (None, "unknown", (), []):
        return "?"
    if isinstance(value, tuple) and len(value) > 5:
        return some(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
