"""Hashes of the image files that a run has read, beside its checkpoints, which do not grow with them."""

import os
from pathlib import Path

import numpy as np

from eva_core.files.atomic_files import make_folder, unlinked
from eva_core.progress import say

SEEN = "seen"
"""Folder of the hashes, in that of a run: a file for each rank, which only ever grows, and has each hash once."""
_ROW = np.dtype([("hash", "<u8"), ("check", "<u4")])
_ODD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: each bit of a number reaches the upper half of the product (Knuth, volume 3, 6.4)."""


def note_seen(output: Path, name: str, hashes: np.ndarray) -> None:
    """Add the hashes that a file of a run lacks, and wait until the disk has them.

    Args:
        output: Folder of the run.
        name: Name of the file: the rank, or what the initial weights had seen.
        hashes: `eva_core.evaluation.contamination.image_hash` of each image file, uint64 (n,).
    """
    if not len(hashes):
        return
    make_folder(output / SEEN)
    with open(output / SEEN / f"{name}.rows", "ab+", opener=unlinked) as file:
        file.seek(0)
        content = file.read()
        new = np.setdiff1d(hashes, _whole(content)[0])  # each pass reads all again
        file.truncate(len(content) // _ROW.itemsize * _ROW.itemsize)  # a killed process may have left a part of a row
        rows = np.empty(len(new), _ROW)
        rows["hash"], rows["check"] = new, _check(new)
        file.write(rows.tobytes())
        file.flush()
        os.fsync(file.fileno())


def images_seen(output: Path) -> bytes:
    """Read what all ranks have noted, sorted, as `ModelCard.training_images`; rows that are damaged are left out."""
    parts = [np.empty(0, np.uint64)]
    for path in sorted((output / SEEN).glob("*.rows")):
        hashes, damaged = _whole(path.read_bytes())
        if damaged:
            say(f"{path}: {damaged} of {damaged + len(hashes)} hashes of images that were seen are damaged: left out.")
        parts.append(hashes)
    return np.unique(np.concatenate(parts)).astype("<u8").tobytes()


def _whole(content: bytes) -> tuple[np.ndarray, int]:
    """Hashes of a file, uint64 (n,), without a part of a row at its end, and the number of damaged rows."""
    rows = np.frombuffer(content[: len(content) // _ROW.itemsize * _ROW.itemsize], _ROW)
    right = rows["check"] == _check(rows["hash"])
    return rows["hash"][right], int((~right).sum())


def _check(hashes: np.ndarray) -> np.ndarray:
    """Number that differs wherever a bit of a hash does, uint32 (n,); not 0 for 0, as a torn write may leave zeros."""
    return ~(hashes.astype(np.uint64) * _ODD >> np.uint64(32)).astype(np.uint32)
