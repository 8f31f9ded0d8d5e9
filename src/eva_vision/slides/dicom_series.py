"""DICOM slides: a series is one slide, though each level is a file or several; OpenSlide opens it by any of them."""

import os
import struct
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from eva_core.errors import EvaError
from eva_vision.slides.reading.blobs import Blob, head, is_url

_SERIES = (0x0020, 0x000E)
_ITEM, _SEQUENCE_ENDS = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNKNOWN = 0xFFFFFFFF
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""Value representations whose length takes four bytes after two that are empty (DICOM PS3.5, 7.1.2)."""
_AT_ONCE = 32


def one_per_series(paths: Sequence[str], representatives: Collection[str] = ()) -> list[str]:
    """Leave out all but one file of each series of a folder; what is no DICOM file stays.

    Args:
        paths: Files and URLs.
        representatives: Those of the paths that stand for a series already.

    Returns:
        In the order given; the first file of a series in that order, where none is known.
    """
    folders: dict[str, list[str]] = {}
    for path in paths:
        if path.lower().endswith(".dcm"):
            folders.setdefault(path.rpartition("/")[0], []).append(path)
    candidates = [path for files in folders.values() if len(files) > 1 for path in files]
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # a bucket may hold thousands
        series_of_path = dict(zip(candidates, pool.map(_series_of_file, candidates), strict=True))
    members: dict[tuple[str, str], list[str]] = {}
    for path, series in series_of_path.items():
        members.setdefault((path.rpartition("/")[0], series or path), []).append(path)
    representatives = set(representatives)
    chosen = {next((path for path in files if path in representatives), files[0]) for files in members.values()}
    return [path for path in paths if path not in series_of_path or path in chosen]


def _series_of_file(path: str) -> str | None:
    """Read the series of a file; None too where it cannot be read: indexing it says why."""
    try:
        return series_of(head(path, Blob(path).size() if is_url(path) else os.stat(path).st_size))
    except (EvaError, OSError):
        return None


def series_of(start: bytes) -> str | None:
    """Find the Series Instance UID (0020,000E) of a DICOM file.

    Args:
        start: Its first bytes, as far as this element.

    Returns:
        None where they are no DICOM, or do not hold it.
    Source: DICOM PS3.10, 7.1 and PS3.5, 7 (explicit VR little endian, which all slides that OpenSlide reads are in).
    """
    if start[128:132] != b"DICM":
        return None
    place, depth = 132, 0
    while place + 12 <= len(start):
        tag = struct.unpack_from("<HH", start, place)
        if tag[0] == 0xFFFE:  # items and ends, which have no value representation
            (length,) = struct.unpack_from("<I", start, place + 4)
            depth -= tag == _SEQUENCE_ENDS
            place += 8 + (0 if length == _UNKNOWN or tag != _ITEM else length)
            continue
        if depth == 0 and tag >= _SERIES:  # elements are in order; within sequences others have UIDs of theirs
            (length,) = struct.unpack_from("<H", start, place + 6)
            value = start[place + 8 : place + 8 + length]
            return value.decode("ascii", "replace").strip("\0 ") or None if tag == _SERIES else None
        if start[place + 4 : place + 6] in _LONG:
            (length,) = struct.unpack_from("<I", start, place + 8)
            place += 12
        else:
            (length,) = struct.unpack_from("<H", start, place + 6)
            place += 8
        if length == _UNKNOWN:
            depth += 1
        else:
            place += length
    return None
