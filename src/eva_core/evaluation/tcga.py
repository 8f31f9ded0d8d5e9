"""TCGA barcodes in the paths of slides and images: which patient, and what kind of slide."""

import re
from collections.abc import Iterator

# project, site, participant; then sample and vial, portion, slide (gdc.cancer.gov, "TCGA Barcode")
_BARCODE = re.compile(
    r"(?<![A-Z0-9-])(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})"
    r"(?:-\d\d[A-Z]?-\d\d[A-Z]?-([A-Z]{2})[A-Z0-9]+)?(?![A-Z0-9])"
)


def tcga(path: str) -> tuple[str, str | None] | None:
    """Patient (the first 12 characters) and kind of slide that a TCGA barcode names, in any case; None: not from TCGA.

    It is looked for in the name of the file, then in the folders above it. The kind is `DX` for diagnostic FFPE, `TS`,
    `BS` or `MS` for frozen top, bottom and middle; None where no barcode goes so far.
    """
    barcodes = list(_barcodes(path))
    if not barcodes:
        return None
    patient = barcodes[0][1]
    return patient, next((kind for _, other, kind in barcodes if kind and other == patient), None)


def patients(path: str) -> set[str]:
    """All TCGA patients that a path names."""
    return {patient for _, patient, _ in _barcodes(path)}


def patient(path: str) -> str | None:
    """The TCGA patient that a path names, in the file's name or in that of a folder above it."""
    barcode = tcga(path)
    return barcode[0] if barcode else None


def from_barcode(path: str) -> str | None:
    """A path from the innermost part on that holds a TCGA barcode; None where none does."""
    at = next((at for at, _, _ in _barcodes(path)), None)
    return None if at is None else "/".join(path.replace("\\", "/").split("/")[at:])


def _barcodes(path: str) -> Iterator[tuple[int, str, str | None]]:
    """Number of the part, patient and kind of each barcode, the innermost part first."""
    parts = path.replace("\\", "/").split("/")
    for at in reversed(range(len(parts))):
        for match in _BARCODE.finditer(parts[at].upper()):
            yield at, match[1], match[2]
