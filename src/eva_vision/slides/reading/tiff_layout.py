"""The layout of the tiles of a JPEG TIFF: parsed once, then a slide opens without its header being read again."""

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import simplejpeg

from eva_core.errors import EvaError
from eva_vision.slides.reading import tiff_pyramid
from eva_vision.slides.reading.blobs import is_url, remote_file
from eva_vision.slides.reading.mpp import aperio_mpp, resolution_mpp
from eva_vision.slides.reading.read_plan import Level, downsample
from eva_vision.slides.reading.tiff_directories import Directory, Tiff, damaged, read_tiff

_MAGIC = b"EVAL\x02"
_SOI = b"\xff\xd8"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""APP14 up to its last byte, which says what the components are: 0 RGB, 1 YCbCr (libjpeg.txt, "Special markers")."""
_COLOURS = {2: "RGB", 6: "YCbCr"}
"""TIFF photometric interpretation -> as simplejpeg calls it."""
_LARGEST = 4096
"""Side of a tile in pixels; a larger one would take more memory than its slide is worth, and OpenSlide's care."""
_MOST_TILES = 2**24
"""Tiles of a level: a million pixels by a million in tiles of 256."""
_JPEG = 7
_GZIP = b"\x1f\x8b"
_UNSIGNED = (3, 4, 16)
"""TIFF types of 2, 4 and 8 bytes."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """One level.

    Attributes:
        width: In pixels.
        height: In pixels.
        tile: Width and height of a tile, multiples of 16.
        colour: What its JPEG streams hold, `RGB` or `YCbCr`.
        tables: JPEGTables of the directory: quantisation and Huffman tables, framed by SOI and EOI; may be empty.
        offsets: First byte of each tile, uint64 (rows, columns).
        counts: Bytes of each tile, uint32 (rows, columns); 0 where there is none.
    """

    width: int
    height: int
    tile: tuple[int, int]
    colour: str
    tables: bytes
    offsets: np.ndarray
    counts: np.ndarray

    @property
    def prefix(self) -> bytes:
        """The bytes that make a stream of a tile without its SOI whole: SOI, the colour transform and the tables."""
        return _SOI + _ADOBE + bytes([self.colour == "YCbCr"]) + self.tables[2:-2]


@dataclass(frozen=True, eq=False)
class Layout:
    """Everything that reading a tiled JPEG TIFF needs but the tiles.

    Attributes:
        size: Bytes of the file.
        mpp: Micrometres per pixel of level 0, where the file states them.
        vendor: As OpenSlide calls it: `aperio` or `generic-tiff`.
        tiles: The levels, full size first.
    """

    size: int
    mpp: float | None
    vendor: str
    tiles: tuple[Tiles, ...]

    @property
    def levels(self) -> tuple[Level, ...]:
        """The pyramid, full size first."""
        full = (self.tiles[0].width, self.tiles[0].height)
        return tuple(Level(t.width, t.height, downsample(full, (t.width, t.height))) for t in self.tiles)

    def to_bytes(self) -> bytes:
        """About 2.5 bytes per tile: offsets as gaps after the tile before, mostly 0, and counts by byte."""
        header: dict[str, Any] = {"size": self.size, "mpp": self.mpp, "vendor": self.vendor, "levels": []}
        parts = []
        for t in self.tiles:
            level = {"width": t.width, "height": t.height, "tile": t.tile, "colour": t.colour, "tables": t.tables.hex()}
            header["levels"].append(level)
            parts += [_shuffled(_gaps(t)), _shuffled(t.counts.ravel().astype("<u4"))]
        text = json.dumps(header).encode()
        return _MAGIC + zlib.compress(struct.pack("<I", len(text)) + text + b"".join(parts))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Layout":
        """Undo `to_bytes`.

        Raises:
            EvaError: The bytes are damaged or of another version.
        """
        try:
            if data[: len(_MAGIC)] != _MAGIC:
                raise ValueError(f"it begins with {data[: len(_MAGIC)]!r}")
            content = memoryview(zlib.decompress(data[len(_MAGIC) :]))
            place = 4 + struct.unpack("<I", content[:4])[0]
            header = json.loads(bytes(content[4:place]))
            tiles = []
            for level in header["levels"]:
                columns, rows = (
                    -(-level[side] // n) for side, n in zip(("width", "height"), level["tile"], strict=True)
                )
                n = rows * columns
                gaps = _unshuffled(content[place : place + 8 * n], "<i8")
                counts = _unshuffled(content[place + 8 * n : place + 12 * n], "<u4")
                place += 12 * n
                before = np.concatenate([[0], np.cumsum(counts[:-1], dtype=np.int64)])
                offsets = (np.cumsum(gaps) + before).astype(np.uint64)
                level["tile"], level["tables"] = tuple(level["tile"]), bytes.fromhex(level["tables"])
                tiles.append(
                    Tiles(**level, offsets=offsets.reshape(rows, columns), counts=counts.reshape(rows, columns))
                )
            return cls(header["size"], header["mpp"], header["vendor"], tuple(tiles))
        except (ValueError, KeyError, TypeError, struct.error, zlib.error) as error:
            raise EvaError(
                f"Expected a layout of this version, but got another ({error}). Index the slide again."
            ) from error


def layout_of(path: str | Path) -> Layout | None:
    """Parse a TIFF, local or remote.

    Returns:
        None where the fast path does not apply: no TIFF, strips, JPEG 2000, other colours, or a dialect whose
        levels do not lie as its directories say.

    Raises:
        EvaError: The file cannot be read, its directories make a loop, or it ends before its tiles.
    """
    try:
        with cast(BinaryIO, remote_file(str(path))) if is_url(path) else Path(path).open("rb") as file:
            if file.read(2) == _GZIP:
                raise EvaError(
                    f"Expected a slide at {path}, but it is compressed by gzip. Decompress it; a web server must send "
                    "it without Content-Encoding."
                )
            tiff = read_tiff(file, str(path))
            layout = None if tiff is None else _parse(tiff)
            if layout is not None:
                _check(layout, str(path))
            return layout if layout is not None and _decodes(layout, file) else None
    except OSError as error:
        raise EvaError(f"Expected a slide at {path}, but it cannot be read ({error}). Check the path.") from error
    except (ValueError, struct.error) as error:  # as of a file that is cut while it is read
        raise damaged(str(path), f"its TIFF directories do not read ({error})") from error


def _parse(tiff: Tiff) -> Layout | None:
    vendor = tiff_pyramid.dialect(tiff)
    pages = [] if vendor is None else tiff_pyramid.levels(tiff, vendor)
    if vendor is None or not pages or not all(_supported(tiff, page) for page in pages):
        return None
    levels = [_tiles(tiff, page) for page in pages]
    tiles = tuple(level for level in levels if level is not None)
    # OpenSlide fills a hole in a lower level of an Aperio slide from the level above it; such slides are left to it
    if len(tiles) < len(pages) or (vendor == "aperio" and any(not level.counts.all() for level in tiles[1:])):
        return None
    first = tiff.directories[0]
    if vendor == "aperio":
        return Layout(tiff.size, aperio_mpp(tiff.text(first, tiff_pyramid.DESCRIPTION)), vendor, tiles)
    across, down = (
        next(iter(tiff.numbers(first, code).tolist()), None) for code in (tiff_pyramid.ACROSS, tiff_pyramid.DOWN)
    )
    return Layout(tiff.size, resolution_mpp(tiff.number(first, tiff_pyramid.UNIT, 2), across, down), vendor, tiles)


def _supported(tiff: Tiff, page: Directory) -> bool:
    width, height = tiff_pyramid.tile(tiff, page)
    return (
        tiff.number(page, tiff_pyramid.COMPRESSION, 1) == _JPEG
        and tiff.number(page, tiff_pyramid.PHOTOMETRIC, -1) in _COLOURS
        and tiff.number(page, tiff_pyramid.SAMPLES, 1) == 3
        and tiff.number(page, tiff_pyramid.PLANAR, 1) == 1
        and tiff_pyramid.is_rgb(tiff, [page])
        and width % 16 == height % 16 == 0
        and max(width, height) <= _LARGEST
    )


def _tiles(tiff: Tiff, page: Directory) -> Tiles | None:
    """Read where the tiles of a level lie; None where their number is not that of its tags, or beyond any slide's."""
    (width, height), tile = tiff_pyramid.size(tiff, page), tiff_pyramid.tile(tiff, page)
    columns, rows = -(-width // tile[0]), -(-height // tile[1])
    entries = [page.tags.get(code) for code in (tiff_pyramid.OFFSETS, tiff_pyramid.COUNTS)]
    if any(tag is None or tag.kind not in _UNSIGNED or tag.count != rows * columns for tag in entries):
        return None
    offsets, counts = (tiff.numbers(page, code, _MOST_TILES) for code in (tiff_pyramid.OFFSETS, tiff_pyramid.COUNTS))
    if len(offsets) != rows * columns or len(counts) != rows * columns or int(counts.max()) >= 2**32:
        return None
    return Tiles(
        width=width,
        height=height,
        tile=tile,
        colour=_COLOURS[tiff.number(page, tiff_pyramid.PHOTOMETRIC, -1)],
        tables=tiff.content(page, tiff_pyramid.TABLES),
        offsets=offsets.astype(np.uint64).reshape(rows, columns),
        counts=counts.astype(np.uint32).reshape(rows, columns),
    )


def _check(layout: Layout, path: str) -> None:
    # as floats, which offsets near 2**64 do not wrap
    end = max(int((level.offsets.astype(float) + level.counts).max()) for level in layout.tiles)
    if end > layout.size:
        raise EvaError(
            f"Expected {end} bytes in {path}, where its last tile ends, but it has {layout.size}. Get the slide again."
        )


def _decodes(layout: Layout, file: BinaryIO) -> bool:
    """Whether the first tile of each level is what its directory says."""
    for level in layout.tiles:
        filled = np.flatnonzero(level.counts)
        if not len(filled):
            return False
        file.seek(int(level.offsets.flat[filled[0]]))
        stream = file.read(int(level.counts.flat[filled[0]]))
        try:
            height, width, colour, _ = simplejpeg.decode_jpeg_header(level.prefix + stream[2:])
        except ValueError:
            return False
        if stream[:2] != _SOI or (width, height) != level.tile or colour != level.colour:
            return False
    return True


def _gaps(level: Tiles) -> np.ndarray:
    """Bytes between the end of the tile before and the start of each, int64; in file order of a scanner mostly 0."""
    offsets, counts = level.offsets.ravel().astype("<i8"), level.counts.ravel().astype("<i8")
    gaps: np.ndarray = np.diff(offsets, prepend=0) - np.concatenate([[0], counts[:-1]])
    return gaps


def _shuffled(values: np.ndarray) -> bytes:
    """First bytes of all numbers, then second ones, ...: deflate finds more."""
    return values.view(np.uint8).reshape(len(values), -1).T.tobytes()


def _unshuffled(data: memoryview, dtype: str) -> np.ndarray:
    width = np.dtype(dtype).itemsize
    return np.frombuffer(data, np.uint8).reshape(width, -1).T.copy().view(dtype).ravel()
