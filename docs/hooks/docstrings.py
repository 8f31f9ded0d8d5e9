"""Parser of docstrings in Google style: the first paragraph, and the text of each name in a section."""

import inspect
import re
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_SECTION = re.compile(r"(?P<section>Args|Attributes|Returns|Raises|Yields):\s*$")
_NAME = re.compile(r"(?P<name>\w+): (?P<text>.*)")


def summary(thing: object) -> str:
    """Extract the first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def described(thing: object, section: str) -> dict[str, str]:
    """Extract the text of each name in a section of a docstring.

    Args:
        thing: Class or function.
        section: `Args` or `Attributes`.
    """
    texts: dict[str, str] = {}
    inside, name = False, ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            header = _SECTION.fullmatch(line)
            inside = header is not None and header["section"] == section
        elif inside and depth == 4 and (entry := _NAME.fullmatch(line.strip())):
            name = entry["name"]
            texts[name] = entry["text"]
        elif inside and name:
            texts[name] += f" {line.strip()}"
    return texts


def typed(annotation: Any) -> str:
    """Write a type as in source code: `a | b` for one of several texts, names without their modules."""
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
    """Escape a text, such that it stays in its cell of a table."""
    return text.replace("|", r"\|")


def code(text: str) -> str:
    """Mark a text as code, in which a `|` does not end the cell of a table."""
    return f"`{text}`"
