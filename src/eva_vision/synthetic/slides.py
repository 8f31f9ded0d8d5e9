"""Small pyramidal slides of phantom tissue, as an Aperio scanner writes them: for the demo and for tests."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import simplejpeg
from PIL import Image

from eva_core.errors import UsageError
from eva_vision.slides.reading.resample import area_resize
from eva_vision.synthetic import patterns
from eva_vision.synthetic.patches import CLASSES, Stain, phantom_patch, random_stain, value_noise

_CELL = 512
_GLASS = 243
_JPEG, _RGB, _YCBCR = 7, 2, 6
_TYPES = {str: (2, 1), int: (4, 4), bytes: (7, 1)}
"""TIFF type and bytes of a value: ASCII, LONG, UNDEFINED (TIFF 6.0, section 2)."""


def write_phantom_slide(  # one argument for each thing that tests vary
    path: str | Path,
    width: int = 4096,
    height: int = 3072,
    seed: int = 0,
    mpp: float | None = 0.25,
    levels: int = 3,
    tile: int = 256,
    colour: Literal["YCbCr", "RGB"] = "YCbCr",
    step: int = 4,
    quality: int = 85,
) -> Path:
    """Write a slide of phantom tissue by `write_slide`, which explains the rest.

    Args:
        path: The file; its folder is made.
        width: Width of level 0 in pixels.
        height: Height of level 0 in pixels.
        seed: Decides the pixels.
        mpp: Stated micrometres per pixel of level 0; None: none are.
        levels: Number of levels of the pyramid.
        tile: Side of a tile in pixels, a multiple of 16.
        colour: What the JPEG streams hold.
        step: Factor between levels.
        quality: Quality of the JPEG streams, 1 to 100.

    Raises:
        UsageError: A size is not positive, a tile no multiple of 16, or the last level would be empty.
    """
    _check(width, height, levels, tile, step)
    return write_slide(path, phantom_tissue(width, height, seed), mpp, levels, tile, colour, step, quality)


def write_pattern_slide(
    path: str | Path,
    side: int = 2048,
    seed: int = 0,
    shares: Sequence[float] | None = None,
    stain: Stain | None = None,
) -> Path:
    """Write a square slide of tissue of four patterns, as `phantom_patterns` draws them, by `write_slide`.

    Args:
        path: The file; its folder is made.
        side: Side of level 0 in pixels, at 0.5 micrometres per pixel; the second level is a quarter of it.
        seed: Decides the pixels.
        shares: Share of the regions that each pattern has; None: all alike.
        stain: The stain; one that the seed decides unless given.

    Raises:
        UsageError: A side is not positive.
    """
    _check(side, side, levels=2, tile=256, step=4)
    return write_slide(path, patterns.pattern_tissue(side, seed, _GLASS, shares, stain), patterns.MPP, levels=2)


def write_slide(
    path: str | Path,
    image: np.ndarray,
    mpp: float | None = 0.25,
    levels: int = 1,
    tile: int = 256,
    colour: Literal["YCbCr", "RGB"] = "YCbCr",
    step: int = 4,
    quality: int = 85,
) -> Path:
    """Write a TIFF of JPEG tiles: levels by factors of `step` and a thumbnail, described as Aperio does.

    Args:
        path: The file; its folder is made.
        image: Level 0, uint8 RGB (height, width, 3).
        mpp: Stated micrometres per pixel; None: none are.
        levels: Number of levels of the pyramid.
        tile: Side of a tile, a multiple of 16.
        colour: What the JPEG streams hold: `YCbCr` at 4:2:0 with tables that the tiles share, or `RGB` at 4:4:4 with
            tables of their own.
        step: Factor between levels.
        quality: Quality of the JPEG streams, 1 to 100.

    Raises:
        UsageError: A tile is no multiple of 16, or the last level would be empty.
    """
    height, width = image.shape[:2]
    _check(width, height, levels, tile, step)
    name = Path(path).stem
    pages = []
    for level in range(levels):
        if level:
            rows, columns = image.shape[0] // step, image.shape[1] // step
            image = area_resize(image[: rows * step, : columns * step], columns, rows)
        scaled = f" -> {image.shape[1]}x{image.shape[0]}" if level else ""
        mpp_field = f"|MPP = {mpp:.4f}|AppMag = {round(10 / mpp)}" if mpp else ""
        text = (
            f"Aperio Image Library v12.0.15\r\n{width}x{height} [0,0 {width}x{height}] ({tile}x{tile}){scaled} "
            f"JPEG/{'YCC' if colour == 'YCbCr' else 'RGB'} Q={quality}{mpp_field}|Filename = {name}"
        )
        pages.append(_tiled(image, tile, colour, quality, text))
        if not level:
            pages.append(_thumbnail(image))
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(_tiff(pages))
    return target


def _check(width: int, height: int, levels: int, tile: int, step: int) -> None:
    if tile < 16 or tile % 16 or levels < 1 or min(width, height) // step ** (levels - 1) < 1:
        raise UsageError(
            f"Expected a tile of a multiple of 16 px and levels of at least 1 px, but got tile {tile} and {levels} "
            f"levels of {width} x {height} px. Change them."
        )


def phantom_tissue(width: int, height: int, seed: int) -> np.ndarray:
    """A piece of tissue on glass, uint8 RGB (height, width, 3): regions of the phantom's classes in one stain."""
    rng = np.random.default_rng(seed)
    stain = random_stain(rng)
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    tissue = np.empty((rows * _CELL, columns * _CELL, 3), np.uint8)
    for k in range(rows * columns):
        y, x = k // columns * _CELL, k % columns * _CELL
        patch = phantom_patch(int(rng.integers(len(CLASSES))), rng, stain, _CELL // 2)  # drawn at 0.5, shown at 0.25
        enlarged = Image.fromarray(patch).resize((_CELL, _CELL), Image.Resampling.BICUBIC)
        tissue[y : y + _CELL, x : x + _CELL] = np.asarray(enlarged)
    side = max(rows, columns) * 16
    noise = value_noise(rng, side, side / 6)[: rows * 16, : columns * 16]
    down, across = np.ogrid[-1 : 1 : rows * 16j, -1 : 1 : columns * 16j]
    mask = Image.fromarray(((np.hypot(across, down) + 0.15 * noise) < 0.8).astype(np.uint8) * 255)
    inside = np.asarray(mask.resize((width, height), Image.Resampling.BILINEAR)) > 127
    grain = rng.integers(_GLASS - 2, _GLASS + 3, (height, width, 1), dtype=np.uint8)
    return np.where(inside[..., None], tissue[:height, :width], grain)


@dataclass(frozen=True)
class _Page:
    """A directory: tags by number, and the data whose offsets and lengths two of them hold."""

    tags: dict[int, str | bytes | list[int]]
    pieces: list[bytes]
    offsets: int
    counts: int


def _tiled(image: np.ndarray, tile: int, colour: str, quality: int, text: str) -> _Page:
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % tile), (0, -width % tile), (0, 0)), "edge")
    streams = [
        _encode(np.ascontiguousarray(padded[y : y + tile, x : x + tile]), colour, quality)
        for y in range(0, height, tile)
        for x in range(0, width, tile)
    ]
    tags: dict[int, str | bytes | list[int]] = {
        254: [0],
        256: [width],
        257: [height],
        258: [8, 8, 8],
        259: [_JPEG],
        262: [_YCBCR if colour == "YCbCr" else _RGB],
        270: text,
        277: [3],
        284: [1],
        322: [tile],
        323: [tile],
    }
    if colour == "YCbCr":
        tags |= {347: _split(streams[0])[0], 530: [2, 2]}
        streams = [_split(stream)[1] for stream in streams]
    return _Page(tags, streams, 324, 325)


def _thumbnail(image: np.ndarray) -> _Page:
    """One uncompressed strip, in the place where Aperio has its thumbnail."""
    height, width = image.shape[:2]
    small = np.asarray(Image.fromarray(image).resize((256, max(1, 256 * height // width)), Image.Resampling.BOX))
    tags: dict[int, str | bytes | list[int]] = {
        254: [0],
        256: [small.shape[1]],
        257: [small.shape[0]],
        258: [8, 8, 8],
        259: [1],
        262: [_RGB],
        270: "Aperio Image Library v12.0.15\r\nthumbnail",
        277: [3],
        278: [small.shape[0]],
        284: [1],
    }
    return _Page(tags, [small.tobytes()], 273, 279)


def _encode(pixels: np.ndarray, colour: str, quality: int) -> bytes:
    if colour == "YCbCr":
        subsampled: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", "420")
        return subsampled
    # planes are stored as they are, so that the components are red, green and blue
    stream: bytes = simplejpeg.encode_jpeg_yuv_planes(
        *(np.ascontiguousarray(pixels[..., c]) for c in range(3)), quality
    )
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]  # JFIF, which would say YCbCr, goes


def _split(stream: bytes) -> tuple[bytes, bytes]:
    """A JPEG as tables alone and as an image without them (TIFF technical note 2); the JFIF header goes."""
    tables, image, place = [b"\xff\xd8"], [b"\xff\xd8"], 2
    while stream[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place + 1] in (0xDB, 0xC4):
            tables.append(stream[place:end])
        elif stream[place + 1] != 0xE0:
            image.append(stream[place:end])
        place = end
    return b"".join([*tables, b"\xff\xd9"]), b"".join([*image, stream[place:]])


def _tiff(pages: Sequence[_Page]) -> bytes:
    """A little-endian classic TIFF: the data of each page, then its directory, as scanners write them."""
    out = bytearray(b"II*\0\0\0\0\0")
    link = 4
    for page in pages:
        offsets = []
        for piece in page.pieces:
            offsets.append(len(out))
            out += piece
        tags = {**page.tags, page.offsets: offsets, page.counts: [len(piece) for piece in page.pieces]}
        entries = b""
        for number, value in sorted(tags.items()):
            entries += _entry(out, number, value)
        out += b"\0" * (len(out) % 2)
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(tags)) + entries
        link = len(out)
        out += b"\0\0\0\0"
    return bytes(out)


def _entry(out: bytearray, number: int, value: str | bytes | list[int]) -> bytes:
    """One entry of a directory; what does not fit into its four bytes goes before it."""
    kind, width = _TYPES[int if isinstance(value, list) else type(value)]
    if isinstance(value, list):
        data = np.array(value, "<u4").tobytes()
    else:
        data = value.encode() + b"\0" if isinstance(value, str) else value
    count = len(data) // width
    if len(data) > 4:
        out += b"\0" * (len(out) % 2)
        data, place = struct.pack("<I", len(out)), data
        out += place
    return struct.pack("<HHI", number, kind, count) + data.ljust(4, b"\0")
