"""Hashes of the image files that a run has read, beside its checkpoints, which do not grow with them."""

import os
from pathlib import Path

import numpy as np

from eva_core.files.atomic_files import unlinked

SEEN = "seen"
"""Folder of the hashes, in that of a run: a file for each rank, which only ever grows, and has each hash once."""


def note_seen(output: Path, name: str, hashes: np.ndarray) -> None:
    """Add the hashes that a file of a run lacks, and wait until the disk has them.

    Args:
        output: Folder of the run.
        name: Name of the file: the rank, or what the initial weights had seen.
        hashes: `eva_core.evaluation.contamination.image_hash` of each image file, uint64 (n,).
    """
    if not len(hashes):
        return
    (output / SEEN).mkdir(parents=True, exist_ok=True)
    with open(output / SEEN / f"{name}.u64", "ab+", opener=unlinked) as file:
        file.seek(0)
        new = np.setdiff1d(hashes, _whole(file.read()))  # each pass reads all again
        file.write(b"\0" * (-file.tell() % 8))  # a killed process may have left a part of one
        file.write(new.astype("<u8").tobytes())
        file.flush()
        os.fsync(file.fileno())


def images_seen(output: Path) -> bytes:
    """Read what all ranks have noted, sorted, as `ModelCard.training_images`."""
    parts = [path.read_bytes() for path in sorted((output / SEEN).glob("*.u64"))]
    unique = np.unique(np.concatenate([*map(_whole, parts)])) if parts else np.empty(0, np.uint64)
    return bytes(unique[unique != 0].astype("<u8").tobytes())


def _whole(content: bytes) -> np.ndarray:
    """Hashes of a file, uint64 (n,), without a part of one at its end."""
    return np.frombuffer(content[: len(content) // 8 * 8], "<u8")
