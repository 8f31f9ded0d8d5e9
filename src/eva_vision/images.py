"""Reading image files."""

from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


def read_image(path: Path) -> np.ndarray:
    """Decode an image file: uint8 RGB, (H, W, 3).

    Raises:
        OSError: The file does not exist, is not an image or is truncated.
    """
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))  # a copy: torch wants it writable
