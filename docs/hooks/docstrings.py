"""Docstrings in Google style as Markdown: the first paragraph, and what a section says of each name."""

import inspect
import re
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_SECTION = re.compile(r"(?P<section>Args|Attributes|Returns|Raises|Yields):\s*$")
_NAME = re.compile(r"(?P<name>\w+): (?P<text>.*)")


def summary(thing: object) -> str:
    """First paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def described(thing: object, section: str) -> dict[str, str]:
    """What a section of a docstring says of each name.

    Args:
        thing: The class or function.
        section: `Args` or `Attributes`.
    """
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            header = _SECTION.fullmatch(line)
            inside = header is not None and header["section"] == section
        elif inside and depth == 4 and (entry := _NAME.fullmatch(line.strip())):
            name = entry["name"]
            found[name] = entry["text"]
        elif inside and name:
            found[name] += f" {line.strip()}"
    return found


def typed(annotation: Any) -> str:
    """A type as one writes it: `a | b` for one of several texts, names without their modules."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (Union, UnionType):
        return " | ".join(map(typed, parts))
    if annotation in (None, NoneType):
        return "None"
    if annotation is ...:
        return "..."
    if origin is not None:
        inside = ", ".join(typed(part) if not isinstance(part, list) else str(part) for part in parts)
        return f"{_name(origin)}[{inside}]"
    return _name(annotation)


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]


def cell(text: str) -> str:
    """A text that keeps to its cell of a table."""
    return text.replace("|", r"\|")


def code(text: str) -> str:
    """A text as code in a cell of a table, where a `|` within code does not end the cell."""
    return f"`{text}`"
