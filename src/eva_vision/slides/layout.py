"""Where the tiles of a JPEG TIFF lie: parsed once, then a slide opens without its header being read again."""

import json
import logging
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import simplejpeg
import tifffile

from eva_core.errors import EvaError
from eva_vision.slides.plan import Level, downsample
from eva_vision.slides.remote import is_url, remote_file
from eva_vision.slides.slide import plausible

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what matters of its complaints becomes an error

_MAGIC = b"EVAL\x01"
_SOI = b"\xff\xd8"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""APP14 up to its last byte, which says what the components are: 0 RGB, 1 YCbCr (libjpeg.txt, "Special markers")."""
_COLOURS = {2: "RGB", 6: "YCbCr"}
"""TIFF photometric interpretation -> as simplejpeg calls it."""
_OTHERS = ("Philips", "MedScan")
"""How Software begins in TIFF dialects (Philips, Trestle) whose levels do not lie as their directories say."""
_MICROMETRES = {2: 25_400.0, 3: 10_000.0}
"""TIFF resolution unit, inch and centimetre."""


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
        """What makes a stream of a tile without its SOI whole: SOI, the colour transform and the tables."""
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
            at = 4 + struct.unpack("<I", content[:4])[0]
            header = json.loads(bytes(content[4:at]))
            tiles = []
            for level in header["levels"]:
                columns, rows = (
                    -(-level[side] // n) for side, n in zip(("width", "height"), level["tile"], strict=True)
                )
                n = rows * columns
                gaps = _unshuffled(content[at : at + 8 * n], "<i8")
                counts = _unshuffled(content[at + 8 * n : at + 12 * n], "<u4")
                at += 12 * n
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
        EvaError: The file cannot be read, or ends before its tiles.
    """
    try:
        with cast(BinaryIO, remote_file(str(path))) if is_url(path) else Path(path).open("rb") as file:
            if file.read(4)[:2] not in (b"II", b"MM"):
                return None
            layout = _parse(file, str(path))
            if layout is not None:
                _check(layout, str(path))
            return layout if layout is not None and _decodes(layout, file) else None
    except OSError as error:
        raise EvaError(f"Expected a slide at {path}, but it cannot be read ({error}). Check the path.") from error


def _parse(file: BinaryIO, path: str) -> Layout | None:
    size = file.seek(0, 2)
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
            if not pages or not pages[0].is_tiled:
                return None
            vendor = _vendor(pages[0])
            levels = [page for page in pages if page.is_tiled and _is_level(page, vendor)]
            if vendor is None or not all(map(_supported, levels)):
                return None
            tiles = tuple(_tiles(page) for page in levels)
            complete = _next_directory(tiff, pages[-1], file) < size
            mpp = _mpp(pages[0], vendor)
    except (tifffile.TiffFileError, ValueError, KeyError, IndexError, struct.error):
        return None  # OpenSlide may still know it, or says what is wrong with it
    if not complete:
        raise EvaError(f"Expected all directories in {path}, but it ends before the last. Get the slide again.")
    # OpenSlide fills a hole in a lower level of an Aperio slide from the level above it, and so do we, by its hands
    if vendor == "aperio" and any(not level.counts.all() for level in tiles[1:]):
        return None
    return Layout(size, mpp, vendor, tuple(sorted(tiles, key=lambda level: -level.width)))


def _next_directory(tiff: tifffile.TiffFile, page: tifffile.TiffPage, file: BinaryIO) -> int:
    """Where the directory after this one lies; 0 after the last. Tifffile passes over one that is not there."""
    form = tiff.tiff
    file.seek(page.offset)
    (entries,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(page.offset + form.tagnosize + entries * form.tagsize)
    return int(struct.unpack(form.offsetformat, file.read(form.offsetsize))[0])


def _vendor(page: tifffile.TiffPage) -> str | None:
    """`aperio`, `generic-tiff`, or None for other dialects."""
    if page.description.startswith("Aperio"):
        return "aperio"
    xml = page.description.lstrip().startswith("<") or 700 in page.tags  # Philips, Leica, OME; Ventana
    return None if xml or page.software.startswith(_OTHERS) else "generic-tiff"


def _is_level(page: tifffile.TiffPage, vendor: str | None) -> bool:
    """As OpenSlide decides: every tiled directory of Aperio, else those marked as a reduced image."""
    return page.index == 0 or vendor == "aperio" or bool(page.subfiletype & 1)


def _supported(page: tifffile.TiffPage) -> bool:
    return (
        page.compression == 7
        and page.photometric in _COLOURS
        and (page.samplesperpixel, page.bitspersample, page.planarconfig) == (3, 8, 1)
        and page.tilewidth % 16 == page.tilelength % 16 == 0
    )


def _tiles(page: tifffile.TiffPage) -> Tiles:
    columns, rows = -(-page.imagewidth // page.tilewidth), -(-page.imagelength // page.tilelength)
    return Tiles(
        width=page.imagewidth,
        height=page.imagelength,
        tile=(page.tilewidth, page.tilelength),
        colour=_COLOURS[page.photometric],
        tables=page.jpegtables or b"",
        offsets=np.array(page.dataoffsets, np.uint64).reshape(rows, columns),
        counts=np.array(page.databytecounts, np.uint32).reshape(rows, columns),
    )


def _mpp(page: tifffile.TiffPage, vendor: str) -> float | None:
    if vendor == "aperio":
        stated = re.search(r"\|\s*MPP\s*=\s*([0-9.,]+)", page.description)
        return plausible(float(stated[1].replace(",", "."))) if stated else None
    unit = _MICROMETRES.get(page.tags.valueof(296, default=2))
    per_unit = [page.tags.valueof(code, default=(0, 1)) for code in (282, 283)]
    if unit is None or not all(numerator and denominator for numerator, denominator in per_unit):
        return None
    return plausible(sum(unit * denominator / numerator for numerator, denominator in per_unit) / 2)


def _check(layout: Layout, path: str) -> None:
    end = max(int((level.offsets + level.counts).max()) for level in layout.tiles)
    if end > layout.size:
        raise EvaError(
            f"Expected {end} bytes in {path}, where its last tile ends, but it has {layout.size}. Get the slide again."
        )


def _decodes(layout: Layout, file: BinaryIO) -> bool:
    """Whether the first tile of each level is what its directory says."""
    for level in layout.tiles:
        held = np.flatnonzero(level.counts)
        if not len(held):
            return False
        file.seek(int(level.offsets.flat[held[0]]))
        stream = file.read(int(level.counts.flat[held[0]]))
        try:
            height, width, colour, _ = simplejpeg.decode_jpeg_header(level.prefix + stream[2:])
        except ValueError:
            return False
        if stream[:2] != _SOI or (width, height) != level.tile or colour != level.colour:
            return False
    return True


def _gaps(level: Tiles) -> np.ndarray:
    """Bytes between the end of the tile before and the begin of each, int64, in file order of a scanner mostly 0."""
    offsets, counts = level.offsets.ravel().astype("<i8"), level.counts.ravel().astype("<i8")
    return np.diff(offsets, prepend=0) - np.concatenate([[0], counts[:-1]])


def _shuffled(values: np.ndarray) -> bytes:
    """First bytes of all numbers, then second ones, ...: deflate finds more."""
    return values.view(np.uint8).reshape(len(values), -1).T.tobytes()


def _unshuffled(data: memoryview, dtype: str) -> np.ndarray:
    width = np.dtype(dtype).itemsize
    return np.frombuffer(data, np.uint8).reshape(width, -1).T.copy().view(dtype).ravel()
