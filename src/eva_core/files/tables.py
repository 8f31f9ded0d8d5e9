"""Tables and lists that people write: CSV as spreadsheets save it. What cannot be understood is named by its line."""

import csv
import difflib
import io
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eva_core.errors import UsageError, some
from eva_core.text import folded

DELIMITERS = ",;\t"
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks, of which the longer ones come first."""
_NOTHING_SHOWN = "\ufeff\u200b\u2060"


@dataclass(frozen=True)
class Table:
    """The rows of a CSV file.

    Attributes:
        columns: The known columns that it has, by the name that was asked for.
        absent: Those that it lacks.
        others: Further columns, as they are written, in order.
        rows: The value of each known column, without spaces around it.
        lines: Where each row ends in the file, counted from 1.
    """

    file: Path
    columns: tuple[str, ...]
    absent: tuple[str, ...]
    others: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int]

    def unread(self, also: Mapping[str, Collection[str]]) -> str | None:
        """Say in a line which columns are not read, and what those may be meant as; None where there are none.

        Args:
            also: Other words for the known columns.
        """
        if not self.others:
            return None
        meant = {name: column for name in self.others if (column := self.meant_as(name, also)) is not None}
        hint = "".join(f" Is {name!r} meant as {column!r}? Then rename it." for name, column in meant.items())
        return f"{self.file}: not read: {', '.join(name or '(no name)' for name in self.others)}.{hint}"

    def meant_as(self, name: str, also: Mapping[str, Collection[str]]) -> str | None:
        """The absent column that a name is near to: by other words for it, else by its letters."""
        plain = folded(name).replace("_", " ").replace("-", " ")
        for column in self.absent:
            if plain in also.get(column, ()):
                return column
        return _nearest(plain, self.absent)


def read_text(file: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 with its byte order mark.

    Raises:
        UsageError: No such file, or another encoding; names the line.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"Expected {file}, but it does not exist. Put the list there.") from error
    except OSError as error:
        raise UsageError(f"Expected a list in {file}, but it does not read: {error.strerror}.") from error
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"Expected UTF-8 in {file}, but line {line} is not. Save it as CSV UTF-8.") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UsageError(f"Expected UTF-8 in {file}, but line {line} holds zero bytes. Save it as CSV UTF-8.")
    return text


def read_table(file: Path, required: Collection[str], optional: Collection[str] = ()) -> Table:
    """Read a CSV file. Fields end at commas, or at semicolons or tabs where its header does.

    Columns are known by their names without case and spaces around. Rows without any value are passed over.

    Args:
        file: The file.
        required: Columns that it must have.
        optional: Columns that it may have.
    Raises:
        UsageError: No such file, no text, no such columns, a column twice, or a line with fewer or more fields.
    """
    text = read_text(file)
    skipped = 0
    if text[:4].lower() == "sep=":  # a spreadsheet's way to name the delimiter
        text, skipped = text.partition("\n")[2], 1
    known = {folded(name): name for name in (*required, *optional)}
    delimiter = max(DELIMITERS, key=lambda mark: sum(folded(name) in known for name in _header(text, mark)))
    records = _records(file, text, delimiter, skipped)
    _, header = next(records, (0, []))
    places = _places(file, header, known)
    missing = [name for name in required if name not in places]
    if missing:
        raise UsageError(
            f"Expected the columns {', '.join(required)} in {file}, but got {', '.join(header) or 'none'}."
            + "".join(f" Is {name!r} meant as {near!r}?" for name in header if (near := _nearest(name, missing)))
        )
    rows, lines, ragged = [], [], []
    filled: set[int] = set()
    for line, fields in records:
        if not any(fields):
            continue
        if len(fields) != len(header) and (len(fields) < len(header) or any(fields[len(header) :])):
            ragged.append(f"line {line} has {len(fields)}")
            continue
        rows.append({name: fields[place] for name, place in places.items()})
        lines.append(line)
        filled |= {place for place, field in enumerate(fields) if field}
    if ragged:
        raise UsageError(
            f"Expected {len(header)} fields in every line of {file}, as in its header, but {some(ragged)}. "
            f"Put quotes round a value that holds {_NAMES[delimiter]}."
        )
    unread = [place for place in range(len(header)) if place not in places.values()]
    others = tuple(header[place] for place in unread if header[place] or place in filled)
    absent = tuple(name for name in known.values() if name not in places)
    return Table(file, tuple(places), absent, others, rows, lines)


_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


def _nearest(name: str, columns: Collection[str]) -> str | None:
    near = difflib.get_close_matches(folded(name), [folded(column) for column in columns], n=1, cutoff=0.7)
    return next((column for column in columns if folded(column) in near), None)


def _header(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])


def _records(file: Path, text: str, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The line where each record ends, and its fields."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        begin = reader.line_num + skipped + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UsageError(
                f"Expected CSV in {file}, but the record from line {begin} on is none: {error}. Is a quote not closed?"
            ) from error
        if any("\n" in field.strip() or "\r" in field.strip() for field in fields):
            raise UsageError(f"Expected a record a line in {file}, but a quote in line {begin} is closed further down.")
        yield reader.line_num + skipped, [field.strip().strip(_NOTHING_SHOWN).strip() for field in fields]


def _places(file: Path, header: list[str], known: Mapping[str, str]) -> dict[str, int]:
    """Place of each known column in the header."""
    by_name = defaultdict(list)
    for place, name in enumerate(header):
        if name:
            by_name[folded(name)].append(place)
    twice = [" = ".join(repr(header[p]) for p in places) for places in by_name.values() if len(places) > 1]
    if twice:
        raise UsageError(f"Expected each column of {file} once, but got {some(twice)}. Remove or rename one.")
    return {known[name]: places[0] for name, places in by_name.items() if name in known}
