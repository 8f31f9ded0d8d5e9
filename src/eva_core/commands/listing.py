"""Registered names with what they say of themselves, as a table for a terminal or as JSON."""

import inspect
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eva_core.contracts.cards import facts_of
from eva_core.errors import UsageError
from eva_core.registry import Entry, Registry
from eva_core.shown import visible
from eva_core.source import Definition, read_definition

OURS = "eva-pathology"
"""Its modules import, which our tests hold; so their source is read, and nobody waits for torch."""
NARROW = 12
"""Letters that a column keeps on a narrow terminal."""

Cells = Callable[[Definition], tuple[str, ...]]


@dataclass(frozen=True)
class Listed:
    """One registered name.

    Attributes:
        entry: Where it comes from.
        definition: What it says of itself; None where that does not read.
        problem: Why it does not; else empty.
    """

    entry: Entry
    definition: Definition | None
    problem: str = ""

    @property
    def summary(self) -> str:
        """The first line of its docstring, or the problem; with the package, unless it is ours."""
        line = self.problem if self.definition is None else self.definition.doc.partition("\n")[0]
        return line if self.entry.package == OURS else f"{line} [{self.entry.origin}]"


def listed(names: Registry) -> list[Listed]:
    """Every claim to every name of a registry; what does not read is listed with the reason."""
    return [_listed(entry) for entry in names.entries()]


def _listed(entry: Entry) -> Listed:
    try:
        return Listed(entry, definition_of(entry))
    except UsageError as error:
        return Listed(entry, None, str(error))
    except Exception as error:  # a plugin may be anything
        return Listed(entry, None, _unreadable(error))


def _unreadable(error: Exception) -> str:
    return f"its card does not read ({type(error).__name__}: {error})"


def definition_of(entry: Entry) -> Definition:
    """What an entry says of itself: ours by their source, those of other packages by importing them.

    Raises:
        UsageError: A plugin does not import.
    """
    read = read_definition(entry.target) if entry.package == OURS and entry.registered is None else None
    if read is not None:
        return read
    thing = entry.load()
    try:
        arguments = tuple(map(str, inspect.signature(thing).parameters.values()))
    except (TypeError, ValueError):  # an object, or something that is written in C
        arguments = ()
    init = inspect.getdoc(thing.__init__) if inspect.isclass(thing) and "__init__" in vars(thing) else None
    return Definition(inspect.getdoc(thing) or "", init or "", arguments, getattr(thing, "card", None))


def rows_of(items: Sequence[Listed], columns: int, cells: Cells) -> list[tuple[str, ...]]:
    """A row for each name: the name, cells from its card, and what it is.

    Args:
        items: The names.
        columns: Number of cells between the name and what it is.
        cells: Makes them; none for a name without a card.
    """
    rows: list[tuple[str, ...]] = []
    for item in items:
        line, inner = item.summary, tuple[str, ...]()
        if item.definition is not None:
            try:
                inner = cells(item.definition)
            except Exception as error:  # a card of a plugin may be anything
                line = Listed(item.entry, None, _unreadable(error)).summary
        inner = inner or ("?",) * columns
        rows.append((item.entry.name, *inner, visible(" ".join(line.split()))))
    return rows


def as_data(item: Listed) -> dict[str, Any]:
    """A name as JSON has it: everything that it says of itself."""
    entry, definition = item.entry, item.definition
    content: dict[str, Any] = {"name": entry.name, "package": entry.package, "version": entry.version}
    if definition is None:
        return {**content, "problem": item.problem}
    content |= {"class_path": entry.class_path, "summary": definition.doc.partition("\n")[0]}
    try:
        card = None if definition.card is None else facts_of(definition.card)
    except Exception as error:
        return {**content, "problem": _unreadable(error)}
    return {**content, "arguments": list(definition.arguments), "card": card}


def print_json(content: Any) -> None:
    """Print JSON; what it cannot hold becomes text."""
    print(json.dumps(content, indent=2, default=str))


def sorted_rows(header: Sequence[str], rows: list[tuple[str, ...]], column: str | None) -> list[tuple[str, ...]]:
    """Rows in the order of a column: numbers by size, texts by letter, what is unknown last.

    Raises:
        UsageError: There is no such column.
    """
    if column is None:
        return rows
    names = [name.casefold() for name in header]
    wanted = column.casefold().replace("_", " ")
    if wanted not in names:
        raise UsageError(
            f"Expected --sort to be one of {', '.join(name.replace(' ', '_') for name in names)}, but got {column}."
        )
    at = names.index(wanted)

    def place(row: tuple[str, ...]) -> tuple[bool, float, str]:
        number = re.match(r"-?[\d.]+\b", row[at])
        return row[at] == "?", float(number[0]) if number else float("inf"), row[at].casefold()

    return sorted(rows, key=place)


def table(header: Sequence[str], rows: Sequence[tuple[str, ...]], width: int | None = None) -> str:
    """Columns side by side.

    Args:
        header: Names of the columns.
        rows: Their cells.
        width: Letters of a line; that of the terminal unless given, and no end where the output is no terminal.
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    lines = [tuple(header), *rows]
    widths = _narrowed([max(len(line[i]) for line in lines) for i in range(len(header))], width)
    cut = [[short(cell, w) for cell, w in zip(line, widths, strict=False)] for line in lines]
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True))[:width].rstrip() for line in cut)


def _narrowed(widths: list[int], width: int) -> list[int]:
    """Widths of columns that fit together: names stay whole, the widest give first, the last has what is left."""
    name, *others, last = widths
    most = max(others, default=0)
    while name + sum(2 + min(w, most) for w in others) > width and most > NARROW:
        most -= 1
    others = [min(w, most) for w in others]
    left = width - name - sum(2 + w for w in others) - 2
    return [name, *others, *([min(last, left)] if left >= min(last, NARROW) else [])]


def short(text: str, width: int) -> str:
    """The beginning of a text, whole words, with dots where it goes on."""
    if len(text) <= width:
        return text
    cut = textwrap.shorten(text, width, placeholder=" ...")
    return cut if cut != "..." and len(cut) > width // 2 else f"{text[: width - 3]}..."
