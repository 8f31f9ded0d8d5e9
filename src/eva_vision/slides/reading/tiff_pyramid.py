"""The pyramid of a TIFF: which directories are levels of its slide, and whether they hold 8-bit RGB."""

import math
import re
from collections.abc import Sequence

from eva_vision.slides.reading.read_plan import downsample, is_smaller_copy
from eva_vision.slides.reading.tiff_directories import Directory, Tiff

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 259, 262, 270
SAMPLES, ACROSS, DOWN, PLANAR, UNIT, SOFTWARE = 277, 282, 283, 284, 296, 305
TILE_WIDTH, TILE_HEIGHT, OFFSETS, COUNTS, TABLES, XMP = 322, 323, 324, 325, 347, 700
_SUBFILE, _PAGE, _EXTRA, _FORMAT = 254, 297, 338, 339
_REDUCED, _ONE_OF_SEVERAL, _OTHER = 1, 2, ~3
"""Bits of NewSubfileType (TIFF 6.0, section 8); others are a transparency mask, and Aperio's macro image."""
_NAMED = re.compile(r"\b(label|macro|thumbnail|overview|mask)\b", re.IGNORECASE)
_THUMBNAIL = re.compile(r"->\s*\d+x\d+\s+-(?:\s|\||$)")
"""Description of a thumbnail by Aperio, `46000x32914 -> 1024x732 - |...`; for a level a compression follows."""
_FOCUS = re.compile(r"\|\s*OffsetZ\s*=\s*([^|\r\n]*)")
_OTHERS = ("Philips", "MedScan")
"""How Software begins in TIFF dialects (Philips, Trestle) whose levels do not lie as their directories say."""
SPACING = 1.01
"""Least ratio between the scales of two levels: what has the size of another is another plane."""
_COLOURS = {
    0: "grey",
    1: "grey",
    2: "RGB",
    3: "a palette",
    4: "a mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "CIELab",
    10: "CIELab",
    32803: "raw values of a camera",
    34892: "raw values of a camera",
}
"""TIFF photometric interpretation."""
_FORMATS = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
_RGB: tuple[tuple[int, list[int]], ...] = ((3, []), (4, [1]), (4, [2]))
"""Samples, and what those beyond colours are: opacity, associated or not (TIFF 6.0, section 18)."""


def dialect(tiff: Tiff) -> str | None:
    """`aperio`, `generic-tiff`, or None for others, whose levels are told otherwise."""
    if not tiff.directories or TILE_WIDTH not in tiff.directories[0].tags:
        return None
    first = tiff.directories[0]
    description = tiff.text(first, DESCRIPTION)
    if description.startswith("Aperio"):
        return "aperio"
    xml = description.lstrip().startswith("<") or XMP in first.tags  # Philips, Leica, OME; Ventana
    return None if xml or tiff.text(first, SOFTWARE).startswith(_OTHERS) else "generic-tiff"


def levels(tiff: Tiff, vendor: str) -> list[Directory]:
    """The tiled directories that say that they are level 0 or a copy of it, and have its shape; full size first.

    SubIFDs, labels, macro images, thumbnails, transparency masks and other focal planes are none. Level 0 is the first
    directory; there are no levels where this one is none.

    Args:
        tiff: Its directories.
        vendor: By `dialect`.
    """
    pages = [page for page in tiff.directories if _says_level(tiff, page, vendor) and min(size(tiff, page)) > 0]
    if not pages or pages[0].index:
        return []
    full = size(tiff, pages[0])
    chosen, scale = pages[:1], 1.0
    for page in sorted(pages[1:], key=lambda page: (-size(tiff, page)[0], page.index)):
        scale_of_page = downsample(full, size(tiff, page))
        if is_smaller_copy(full, size(tiff, page), tile(tiff, page)) and scale_of_page > scale * SPACING:
            chosen.append(page)
            scale = scale_of_page
    return chosen


def largest(tiff: Tiff) -> list[Directory]:
    """The tiled directory of the most pixels, where there is one: level 0 in any dialect."""
    tiled = [page for page in tiff.directories if all(tile(tiff, page))]
    return sorted(tiled, key=lambda page: -math.prod(size(tiff, page)))[:1]


def size(tiff: Tiff, page: Directory) -> tuple[int, int]:
    """Width and height in pixels."""
    return tiff.number(page, WIDTH, 0), tiff.number(page, HEIGHT, 0)


def tile(tiff: Tiff, page: Directory) -> tuple[int, int]:
    """Width and height of a tile in pixels."""
    return tiff.number(page, TILE_WIDTH, 0), tiff.number(page, TILE_HEIGHT, 0)


def _says_level(tiff: Tiff, page: Directory, vendor: str) -> bool:
    if not all(tile(tiff, page)):
        return False
    if not page.index:
        return True
    first = tiff.directories[0]
    kind = tiff.number(page, _SUBFILE, 0)
    if kind & _OTHER or (vendor != "aperio" and not kind & _REDUCED):
        return False
    if kind & _ONE_OF_SEVERAL and tiff.number(page, _PAGE, 0) != tiff.number(first, _PAGE, 0):
        return False
    text = tiff.text(page, DESCRIPTION)
    if vendor == "aperio" and (_THUMBNAIL.search(text) or _focus(text) != _focus(tiff.text(first, DESCRIPTION))):
        return False
    return _NAMED.search(text.partition("|")[0]) is None


def _focus(description: str) -> str:
    match = _FOCUS.search(description)
    return match[1].strip() if match else "0"


def is_rgb(tiff: Tiff, pages: Sequence[Directory]) -> bool:
    """Whether all directories hold 8-bit RGB, as it is or as YCbCr, with or without opacity."""
    return all(what_else(tiff, page) is None for page in pages)


def what_else(tiff: Tiff, page: Directory) -> str | None:
    """Say what a directory holds that is no 8-bit RGB, or None where it is, or does not say which colours it holds."""
    samples = tiff.number(page, SAMPLES, 1)
    bits = [int(n) for n in tiff.numbers(page, BITS)] or [1]
    formats = [int(n) for n in tiff.numbers(page, _FORMAT)] or [1]
    extra = [int(n) for n in tiff.numbers(page, _EXTRA)]
    photometric = tiff.number(page, PHOTOMETRIC, -1)
    colour = _COLOURS.get(photometric, f"colours of kind {photometric}")
    signed = _FORMATS.get(max(formats), "")
    if set(bits) == {8} and not signed and photometric in (2, 6, -1) and (samples, extra) in _RGB:
        return None
    depth = "/".join(map(str, sorted(set(bits))))
    meaning = ", of which some have no meaning" if photometric in (2, 6) and samples > 3 and not signed else ""
    return f"{colour} of {samples} {signed}sample{'s' * (samples != 1)} of {depth} bits{meaning}"
