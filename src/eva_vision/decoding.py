"""Opening image files: the formats that we mean, as viewers show them, in the 8 bits that a model was trained on.

What holds more than 8 bits, or planes without a meaning as colours, is refused: nobody but its maker knows its range.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats of Pillow, which tells them by content. EPS, PDF and the like run programs."""
MOST_PIXELS = 2**29
"""Most pixels of an image that is decoded whole: 1.6 GB as RGB. Pillow's own limit, against bombs, is 179 million."""
_COLOURS = {"1", "L", "P", "RGB", "YCbCr", "LA", "La", "PA", "RGBA", "RGBa"}
"""Modes of 8 bits that are grey or colours, with or without opacity."""
_ALPHA = {1, 2}
"""ExtraSamples of TIFF that say opacity (TIFF 6.0, tag 338); 0 is a plane without a meaning."""
_WIDTH, _HEIGHT, _SAMPLES, _EXTRA, _ORIENTATION = 256, 257, 277, 338, 274
_SIDEWAYS = {5, 6, 7, 8}
"""Orientations of EXIF that exchange width and height."""

Image.MAX_IMAGE_PIXELS = None  # `opened` has a limit of its own, and a message that says what to do


@contextmanager
def opened(source: Path | BinaryIO) -> Iterator[Image.Image]:
    """Open an image of one page, its header read.

    Args:
        source: The file, or its bytes as a file.

    Raises:
        OSError: There is no such file, or it is not of `FORMATS`, has several pages, or is too large to be decoded.
    """
    # from a file: of a path, Pillow maps memory, and forgets that TIFF exchanges the sides of an image to be turned
    with _file(source) as file, _header(file) as image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise OSError(
                f"it has {width * height / 1e6:,.0f} million pixels, more than {MOST_PIXELS / 1e6:,.0f} million; "
                "cut it into patches, or read it as a slide"
            )
        if image.format != "MPO" and _pages(image) > 1:  # MPO: a JPEG, with which a camera keeps others
            raise OSError(f"it has {_pages(image)} pages of this size, and nothing says which is meant; save one alone")
        yield image


def _file(source: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    return Path(source).open("rb") if isinstance(source, str | Path) else nullcontext(source)


def _header(file: BinaryIO) -> Image.Image:
    """Read the header; Pillow would name an object in memory where there is none that it knows."""
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        kinds = f"no 8-bit image in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise OSError(f"it is {kinds if file.seek(0, os.SEEK_END) else 'empty'}") from None


def decoded(image: Image.Image) -> np.ndarray:
    """Decode to uint8 RGB (H, W, 3), turned as its EXIF orientation says, transparent pixels over white.

    Raises:
        OSError: It is truncated, or does not hold 8 bits of grey or colours.
    """
    _refuse_other_planes(image)
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))  # a copy: torch wants it writable


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Height and width as `decoded` gives them, from the header."""
    sideways = _orientation(image) in _SIDEWAYS
    width, height = image.size
    stored: tuple[int | None, int | None] = (width, height)
    if isinstance(image, TiffImageFile):  # of which newer versions of Pillow give the size as shown
        stored = image.tag_v2.get(_WIDTH), image.tag_v2.get(_HEIGHT)
    return (width, height) if sideways and (width, height) == stored else (height, width)


def _orientation(image: Image.Image) -> int | None:
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode all to look behind the pixels
        return None
    return image.getexif().get(_ORIENTATION)


def _pages(image: Image.Image) -> int:
    """Pages of the size of the first one: a thumbnail beside it does no harm."""
    pages = getattr(image, "n_frames", 1)
    if pages == 1 or image.format != "TIFF":
        return pages
    size, same = image.size, 1
    for page in range(1, pages):
        image.seek(page)
        same += image.size == size
    image.seek(0)
    return same


def _refuse_other_planes(image: Image.Image) -> None:
    content = _held(image)
    if content is not None:
        raise OSError(f"it holds {content}, not 8-bit RGB or grey; save it so, in the range that is meant")


def _held(image: Image.Image) -> str | None:
    """Say what a file holds, where that is not 8 bits of grey or colours."""
    bits = _bits(image)
    if bits > 8 or image.mode[0] in "IF":
        kind = "floats" if image.mode == "F" else "integers" if image.mode == "I" else "values"
        return f"{kind} of {max(bits, 16)} bits a plane"
    if isinstance(image, TiffImageFile):
        samples, extra = image.tag_v2.get(_SAMPLES, 1), image.tag_v2.get(_EXTRA, ())
        if samples not in (1, 3) and not (samples in (2, 4) and len(extra) == 1 and extra[0] in _ALPHA):
            return f"{samples} planes, of which some have no meaning as colours"
    return None if image.mode in _COLOURS else f"{image.mode} in {len(image.getbands())} planes"


def _bits(image: Image.Image) -> int:
    """Bits of a plane as stored: Pillow keeps the upper 8 of 16 without a word, black where 12 bits were meant."""
    if image.mode in ("I", "F"):
        return 32
    if image.format == "BMP":  # 16 bits are of all colours together
        return 8
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    raw = [tile[3] if isinstance(tile[3], str) else (tile[3] or ("",))[0] for tile in tiles]
    return 16 if image.mode.startswith("I;16") or any("16" in str(mode) for mode in raw) else 8
