"""A manifest of slides and outcomes, as a hospital writes it: one line a slide, several slides a patient."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eva_core.errors import UsageError, some
from eva_core.files.tables import Table, read_table
from eva_core.progress import say
from eva_core.text import folded, printable
from eva_vision.slide_level.contracts import SlideFile
from eva_vision.slides.reading.blobs import is_url

Kind = Literal["label", "value", "survival"]
TASKS: dict[Kind, tuple[str, str]] = {
    "label": ("slide_classification", "balanced_accuracy"),
    "value": ("slide_regression", "r2"),
    "survival": ("slide_survival", "c_harrell"),
}
"""The kind of task and the main metric of each kind of outcome."""
SPLITS = ("train", "val", "test")
COLUMNS = ("label", "value", "time", "event", "patient", "split", "site", "cohort", "mpp")
WORDS = {
    "slide": {"file", "filename", "file name", "path", "image", "wsi", "slide id", "slide name", "slide file"},
    "patient": {"patient id", "patientid", "case", "case id", "subject", "subject id", "group", "donor", "person"},
    "label": {"class", "class name", "target", "category", "diagnosis", "y", "grade", "status"},
    "value": {"score", "target value", "measurement", "expression", "percentage"},
    "time": {"days", "months", "follow up", "os time", "pfs time", "survival time", "duration"},
    "event": {"death", "dead", "os event", "censored", "vital status", "progression", "recurrence"},
    "split": {"set", "partition", "fold", "subset"},
    "site": {"centre", "center", "hospital", "institute", "institution", "source", "lab"},
    "cohort": {"study", "project", "series"},
    "mpp": {"microns per pixel", "micrometres per pixel", "resolution", "pixel size"},
}
"""Other words for the columns."""


@dataclass(frozen=True)
class Line:
    """A slide as the manifest lists it.

    Attributes:
        file: The slide.
        patient: Its patient; the slide itself where none is named.
        outcome: The label as text, or a value, or time and event; None where the manifest has none.
        split: `train`, `val` or `test`; empty where the manifest gives none.
        site: Where it was made; empty where unknown.
        cohort: The study it is of; empty where unknown.
    """

    file: SlideFile
    patient: str
    outcome: str | float | tuple[float, float] | None
    split: str
    site: str
    cohort: str


@dataclass(frozen=True)
class Manifest:
    """The lines of a manifest, and what kind of outcome they have."""

    kind: Kind
    lines: list[Line]


def read_manifest(file: Path, root: str, kind: Kind | None) -> Manifest:
    """Read a manifest.

    Args:
        file: CSV with the columns slide, and label, value, or time and event; patient, split, site, cohort and mpp may
            be there.
        root: Folder or address to which the slides' paths are relative.
        kind: The outcome that is meant, also where the manifest has none, so that finished heads are applied; None: the
            only one that there is.
    Raises:
        UsageError: Names the lines that are wrong, and what to do.
    """
    table = read_table(file, ("slide",), COLUMNS)
    if (unread := table.unread(WORDS)) is not None:
        say(unread)
    if not table.rows:
        raise UsageError(f"Expected slides in {file}, but it lists none.")
    kind, labelled = _kind(table, kind)
    _refuse(table, "a slide", lambda row: bool(row["slide"]))
    _refuse_values(table, kind if labelled else None)
    patients = "patient" in table.columns
    if patients:
        _refuse(table, "a patient", lambda row: bool(row["patient"]))
    lines = [
        Line(
            SlideFile(row["slide"], _path(root, row["slide"]), number(row["mpp"]) if row.get("mpp") else None),
            printable(row["patient"] if patients else row["slide"]),
            _outcome(row, kind) if labelled else None,
            row.get("split", "").lower() if labelled else "new",
            printable(row.get("site", "")),
            printable(row.get("cohort", "")),
        )
        for row in table.rows
    ]
    _refuse_twice(file, lines)
    _refuse_missing(root, lines)
    _tell_alike(file, lines)
    if not patients:
        say(f"{file} names no patients: every slide counts as a patient of its own.")
    return Manifest(kind, lines)


def _kind(table: Table, kind: Kind | None) -> tuple[Kind, bool]:
    """The kind of outcome, and whether the manifest has it."""
    there: list[Kind] = [name for name in ("label", "value") if name in table.columns]
    there += ["survival"] if {"time", "event"} <= set(table.columns) else []
    if kind is None and len(there) == 1:
        return there[0], True
    if kind is not None and not {"label", "value", "time", "event"} & set(table.columns):
        return kind, False
    if kind is None or kind not in there:
        got = f"{some(there)}: name one with --dataset.outcome" if kind is None and there else some(table.columns)
        wanted = {"label": "a column label", "value": "a column value", "survival": "columns time and event", None: ""}
        raise UsageError(
            f"Expected {wanted[kind] or 'a column label, a column value, or columns time and event'} in {table.file}, "
            f"but got {got}. To apply finished heads to slides without any, name the kind with --dataset.outcome."
        )
    return kind, True


def _refuse_values(table: Table, kind: Kind | None) -> None:
    if kind == "label":
        _refuse(table, "a label", lambda row: bool(row["label"]))
    if kind == "value":
        _refuse(table, "a number as value", lambda row: number(row["value"]) is not None)
    if kind == "survival":
        _refuse(table, "time as a number of at least 0", lambda row: _least(row["time"], 0))
        _refuse(table, "event as 0 or 1 (it happened)", lambda row: number(row["event"]) in (0, 1))
    if "split" in table.columns:
        allowed = {"", *SPLITS} if not any(row["split"] for row in table.rows) else set(SPLITS)
        _refuse(table, "split as train, val or test", lambda row: row["split"].lower() in allowed)
    if "mpp" in table.columns:
        _refuse(table, "mpp above 0", lambda row: not row["mpp"] or _least(row["mpp"], 1e-9))


def _refuse(table: Table, what: str, good: Callable[[dict[str, str]], bool]) -> None:
    bad = [(line, row) for line, row in zip(table.lines, table.rows, strict=True) if not good(row)]
    if bad:
        column = next((name for name in table.columns if name in what.split()), "slide")
        line, row = bad[0]
        more = f" (and {len(bad) - 1} further)" if len(bad) > 1 else ""
        raise UsageError(
            f"Expected {what} in every line of {table.file}, but line {line}{more} has "
            f"{repr(row[column]) if row.get(column) else 'none'}. Correct it."
        )


def number(text: str) -> float | None:
    """A number as a spreadsheet writes it, also with a decimal comma; None where it is none, or may be another.

    Examples:
        >>> [number(text) for text in ("0.25", "0,25", "1,234", "high")]
        [0.25, 0.25, None, None]
    """
    if re.fullmatch(r"-?\d+,\d+", text) and not re.fullmatch(r"-?[1-9]\d{0,2},\d{3}", text):  # not of thousands
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _least(text: str, least: float) -> bool:
    value = number(text)
    return value is not None and value >= least


def _outcome(row: dict[str, str], kind: Kind) -> str | float | tuple[float, float]:
    if kind == "label":
        return printable(row["label"])
    values = [number(row[name]) or 0.0 for name in (("value",) if kind == "value" else ("time", "event"))]
    return values[0] if kind == "value" else (values[0], values[1])


def _path(root: str, name: str) -> str:
    if is_url(name):
        return name
    return f"{root.rstrip('/')}/{name}" if is_url(root) else str((Path(root) / name).absolute())


def _refuse_twice(file: Path, lines: Sequence[Line]) -> None:
    twice = [path for path, n in Counter(line.file.path for line in lines).items() if n > 1]
    if twice:
        raise UsageError(f"Expected each slide of {file} once, but {some(twice)} stands twice. Keep one line.")


def _refuse_missing(root: str, lines: Sequence[Line]) -> None:
    """Refuse slides that are not there; those in blob storage are asked for when they are read."""
    missing = [line.file.name for line in lines if not is_url(line.file.path) and not Path(line.file.path).exists()]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(lines)} slides are not below {root}: {some(missing)}. Correct the paths, or "
            "--dataset.root."
        )


def _tell_alike(file: Path, lines: Sequence[Line]) -> None:
    """Say which patients differ by capitals alone: they would be told apart, and could teach and be scored."""
    spellings = defaultdict(set)
    for line in lines:
        spellings[folded(line.patient)].add(line.patient)
    alike = [" = ".join(sorted(names)) for names in spellings.values() if len(names) > 1]
    if alike:
        say(f"{file}: are these spellings one patient? {some(alike)}. They count as several.")


def refuse_crossing_patients(file: Path, lines: Sequence[Line]) -> None:
    """Refuse patients in two splits.

    Raises:
        UsageError: Names them.
    """
    places = defaultdict(set)
    for line in lines:
        places[line.patient].add(line.split)
    crossing = sorted(patient for patient, splits in places.items() if len(splits) > 1)
    if crossing:
        raise UsageError(f"{len(crossing)} patients cross splits in {file}: {some(crossing)}. Move each into one.")
