"""Reading image files, one by one and as what datasets of them share."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from eva_core.file_hashes import UNREADABLE
from eva_core.types import Dataset, Sample

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


def is_image(path: str) -> bool:
    """Whether a file is an image by its name."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def read_image(path: Path) -> np.ndarray:
    """Decode an image file: uint8 RGB, (H, W, 3).

    Raises:
        OSError: The file does not exist, is not an image or is truncated.
    """
    with Image.open(path) as image:
        if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion turns all above 255 white
            grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.array(image.convert("RGB"))  # a copy: torch wants it writable


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file in pixels, from its header alone.

    Raises:
        OSError: The file does not exist or is not an image.
    """
    with Image.open(path) as image:
        return image.height, image.width


class ImageFiles(Dataset):
    """A dataset whose samples are image files."""

    def image(self, sample: Sample) -> np.ndarray:
        """Decode the file of a sample: uint8 RGB, (H, W, 3)."""
        assert sample.path is not None
        return read_image(sample.path)

    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the file."""
        assert sample.path is not None
        return known(hashes[sample.path])


def known(hash_of_file: str) -> str | None:
    """A hash as `Dataset.pixels` gives it: None for a file that does not read."""
    return None if hash_of_file == UNREADABLE else hash_of_file
