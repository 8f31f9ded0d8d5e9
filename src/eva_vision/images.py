"""Reading image files."""

from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from eva_core.files.file_hashes import UNREADABLE
from eva_vision.decoding import decoded, opened, shown_size

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


def is_image(path: str) -> bool:
    """Whether a file is an image by its name."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def read_image(path: Path | BinaryIO) -> np.ndarray:
    """Decode an image file: uint8 RGB, (H, W, 3).

    Raises:
        OSError: The file does not exist, is not an image of 8 bits, or is truncated; see `eva_vision.decoding`.
    """
    with opened(path) as image:
        return decoded(image)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file in pixels as `read_image` gives it, from its header alone.

    Raises:
        OSError: The file does not exist or is not an image.
    """
    with opened(path) as image:
        return shown_size(image)


def readable_hash(hash_of_file: str) -> str | None:
    """Pass on the hash of a file, or None for a file that does not read, as `Dataset.pixels` tells it."""
    return None if hash_of_file == UNREADABLE else hash_of_file
