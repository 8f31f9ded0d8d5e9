"""TCGA barcodes in the names of slides, and lists of patients and slides that are left out."""

import re
from collections.abc import Iterable
from pathlib import Path

from eva_core.errors import UsageError
from eva_core.tables import read_text

# project, site, participant; then sample and vial, portion, slide (gdc.cancer.gov, "TCGA Barcode")
_BARCODE = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})(?:-\d\d[A-Z]?-\d\d[A-Z]?-([A-Z]{2})[A-Z0-9]+)?(?![A-Z0-9])")

_AROUND = ' \t,;"\u00a0\ufeff'
"""What a spreadsheet may leave round the only value of a line."""


def tcga(name: str) -> tuple[str, str | None] | None:
    """Patient (the first 12 characters) and kind of slide that a TCGA barcode names, in any case; None: not from TCGA.

    The kind is `DX` for diagnostic FFPE, `TS`, `BS` or `MS` for frozen top, bottom and middle; None where the barcode
    ends before.
    """
    found = _BARCODE.match(name.upper())
    return (found[1], found[2]) if found else None


def stem(name: str) -> str:
    """A file name without its extension; what a TCGA name has after its barcode's dot stays."""
    return Path(name).stem


class Excluded:
    """Patients and slides that are left out.

    Attributes:
        entries: Lines of the file.
        used: Those that met a slide.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        stripped = (line.strip(_AROUND) for line in lines)
        self.entries = [line for line in stripped if line and not line.startswith("#")]
        self.used: set[str] = set()
        self._by_key: dict[str, list[str]] = {}
        for entry in self.entries:
            self._by_key.setdefault(_key(entry), []).append(entry)

    def __contains__(self, name: str) -> bool:
        """Whether a slide is left out: by its TCGA patient, else by its name with or without extension."""
        met = [entry for key in {_key(name), _key(stem(name))} for entry in self._by_key.get(key, [])]
        self.used.update(met)
        return bool(met)


def read_excluded(path: str | Path) -> Excluded:
    """A text file, one patient or slide a line; `#` begins a comment.

    A TCGA barcode of any length leaves out the whole patient: slides of one patient look alike.

    Raises:
        UsageError: It does not read, or is empty.
    """
    excluded = Excluded(read_text(Path(path).expanduser()).splitlines())
    if not excluded.entries:
        raise UsageError(f"Expected a patient or slide in each line of {path}, but it has none. Leave exclude out.")
    return excluded


def _key(name: str) -> str:
    barcode = tcga(name)
    return barcode[0] if barcode else name
