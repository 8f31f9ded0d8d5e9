"""TIFFs for tests, tag by tag: what writers of slides do, and what nobody should."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from eva_vision.slides.reading.open import open_by
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.reading.tiff_layout import Layout

Page = tuple[dict[int, Any], list[bytes]]
"""Tags (a number, a list of them, text, bytes, or floats for fractions), and the bytes of tiles."""

_CODES = {"B": 1, "s": 2, "H": 3, "I": 4, "Q": 16}


def jpeg_page(pixels: np.ndarray, tile: int = 128, mpp: float | None = None, **tags: Any) -> Page:
    """A level of JPEG tiles, as the fast path reads."""
    streams = [simplejpeg.encode_jpeg(part, 95, "RGB", "444") for part in _cut(pixels, tile)]
    return _tags(pixels, tile, mpp, compression=7, photometric=6) | _named(tags), streams


def flat_page(pixels: np.ndarray, tile: int = 128, mpp: float | None = None, **tags: Any) -> Page:
    """A level of deflated tiles of any dtype and number of samples, which OpenSlide reads."""
    parts = [zlib.compress(np.ascontiguousarray(part).tobytes(), 1) for part in _cut(pixels, tile)]
    return _tags(pixels, tile, mpp, compression=8, photometric=2) | _named(tags), parts


def aperio_text(width: int, height: int, mpp: str = "0.25") -> str:
    return f"Aperio Image Library v12.0.15\r\n{width}x{height} (128x128) JPEG|AppMag = 40|MPP = {mpp}|Title = label"


def write_tiff(path: Path, pages: Sequence[Page], order: str = "<", big: bool = False, last: int | None = None) -> Path:
    """Write a chain of directories.

    Args:
        path: The file.
        pages: Their content.
        order: Of bytes.
        big: BigTIFF.
        last: Which page the last one names as the next; None: none.
    """
    wide, entry = ("Q", "HHQ") if big else ("I", "HHI")
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
    link = len(out) - struct.calcsize(wide)
    places = []
    for tags, tiles in pages:
        starts = []
        for piece in tiles:
            starts.append(len(out))
            out += piece
        entries = b""
        held = {**tags, 324: starts, 325: [len(piece) for piece in tiles]} if tiles else tags
        for code, value in sorted(held.items()):
            kind, count, data = _value(value, order)
            if len(data) > struct.calcsize(wide):
                out += b"\0" * (-len(out) % 8)
                at = len(out)
                out += data
                data = struct.pack(order + wide, at)
            entries += struct.pack(order + entry, code, kind, count) + data.ljust(struct.calcsize(wide), b"\0")
        out += b"\0" * (-len(out) % 8)
        places.append(len(out))
        struct.pack_into(order + wide, out, link, len(out))
        out += struct.pack(order + ("Q" if big else "H"), len(held)) + entries
        link = len(out)
        out += bytes(struct.calcsize(wide))
    if last is not None:
        struct.pack_into(order + wide, out, link, places[last])
    path.write_bytes(out)
    return path


def _value(value: Any, order: str) -> tuple[int, int, bytes]:
    if isinstance(value, str):
        return 2, len(value.encode()) + 1, value.encode() + b"\0"
    if isinstance(value, bytes):
        return 7, len(value), value
    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], float):
        pairs = [(round(v * 1000), 1000) for v in values]
        return 5, len(values), b"".join(struct.pack(order + "II", *pair) for pair in pairs)
    form = "H" if max(values) < 2**16 else "I" if max(values) < 2**32 else "Q"
    return _CODES[form], len(values), struct.pack(f"{order}{len(values)}{form}", *values)


def _cut(pixels: np.ndarray, tile: int) -> list[np.ndarray]:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % tile), (0, -width % tile), (0, 0)), "edge")
    corners = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
    return [np.ascontiguousarray(padded[y : y + tile, x : x + tile]) for y, x in corners]


def _tags(pixels: np.ndarray, tile: int, mpp: float | None, compression: int, photometric: int) -> dict[int, Any]:
    height, width, samples = pixels.shape
    tags = {254: 0, 256: width, 257: height, 258: [8 * pixels.itemsize] * samples, 259: compression, 262: photometric}
    tags |= {277: samples, 284: 1, 322: tile, 323: tile}
    return tags | {282: 10_000 / mpp, 283: 10_000 / mpp, 296: 3} if mpp else tags


def _named(tags: dict[str, Any]) -> dict[int, Any]:
    return {int(name.removeprefix("tag")): value for name, value in tags.items()}


def by_layout(path: str | Path, layout: Layout) -> Slide:
    """A slide on the fast path by a layout, as an index opens it: nothing is parsed."""
    return open_by("tiff", str(path), None, layout.to_bytes())
