"""Tiles of a TIFF as they are stored, by Pillow: for levels between whose pixels OpenSlide would paint."""

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from eva_vision.slides.reading import tiff_pyramid
from eva_vision.slides.reading.tiff import LocalFile
from eva_vision.slides.reading.tiff_directories import Directory, Tiff

_JPEG_2000 = (33003, 33005)
"""Numbers of Aperio for JPEG 2000 of YCbCr and of RGB; other kinds of compression are libtiff's."""
_PREDICTOR, _SUBSAMPLING = 317, 530
_MOST_TILES = 2**22


@dataclass(frozen=True, eq=False)
class StoredLevel:
    """A level, and where its tiles lie.

    Attributes:
        file: Open for reading.
        tile: Width and height in pixels.
        offsets: First byte of each tile, (rows, columns).
        counts: Bytes of each tile, (rows, columns).
        compression: As TIFF numbers it.
        tags: What a TIFF with one tile has to state: code -> type and values.
    """

    file: LocalFile
    tile: tuple[int, int]
    offsets: np.ndarray
    counts: np.ndarray
    compression: int
    tags: dict[int, tuple[str, list[int] | bytes]]

    def region(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Pixels within the level, uint8 (height, width, 3).

        Raises:
            EvaError: The file ends before.
            OSError, ValueError, SyntaxError, EOFError: A tile does not decode.
        """
        across, down = self.tile
        out = np.empty((height, width, 3), np.uint8)
        for row in range(top // down, -(-(top + height) // down)):
            for column in range(left // across, -(-(left + width) // across)):
                start = int(self.offsets[row, column])
                (stream,) = self.file.ranges([(start, start + int(self.counts[row, column]))])
                pixels = self._decoded(stream)
                x, y = column * across - left, row * down - top
                x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + across, width), min(y + down, height)
                out[y0:y1, x0:x1] = pixels[y0 - y : y1 - y, x0 - x : x1 - x]
        return out

    def _decoded(self, stream: bytes) -> np.ndarray:
        two_thousand = self.compression in _JPEG_2000
        with Image.open(io.BytesIO(stream if two_thousand else self._as_tiff(stream))) as opened:
            image: Image.Image = opened
            if self.compression == _JPEG_2000[0] and image.mode == "RGB":  # the stream does not say what it holds
                image = Image.merge("YCbCr", image.split())
            pixels = np.asarray(image.convert("RGB"))
        if pixels.shape != (self.tile[1], self.tile[0], 3):
            raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} px")
        return pixels

    def _as_tiff(self, stream: bytes) -> bytes:
        """A TIFF of one strip."""
        size = {"H": 2, "I": 4, "B": 1}
        tags = {**self.tags, 273: ("I", [0]), 279: ("I", [len(stream)])}
        place = 8 + 2 + 12 * len(tags) + 4
        entries, values = b"", b""
        for code, (form, content) in sorted(tags.items()):
            data = content if isinstance(content, bytes) else struct.pack(f"<{len(content)}{form}", *content)
            kind = {"H": 3, "I": 4, "B": 7}[form]
            entries += struct.pack("<HHI", code, kind, len(data) // size[form])
            if code == 273:
                entries += b"HERE"
            elif len(data) <= 4:
                entries += data.ljust(4, b"\0")
            else:
                entries += struct.pack("<I", place + len(values))
                values += data + b"\0" * (len(data) % 2)
        entries = entries.replace(b"HERE", struct.pack("<I", place + len(values)))
        return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values + stream


def stored_level(tiff: Tiff, page: Directory, path: str) -> StoredLevel | None:
    """The tiles of a level of three samples side by side; None where it has others, or holes.

    Args:
        tiff: Its directories.
        page: The directory of the level.
        path: A local file.
    """
    (width, height), tile = tiff_pyramid.size(tiff, page), tiff_pyramid.tile(tiff, page)
    columns, rows = -(-width // tile[0]), -(-height // tile[1])
    offsets, counts = (tiff.numbers(page, code, _MOST_TILES) for code in (tiff_pyramid.OFFSETS, tiff_pyramid.COUNTS))
    rgb = tiff.number(page, tiff_pyramid.SAMPLES, 1) == 3 and tiff.number(page, tiff_pyramid.PLANAR, 1) == 1
    if not rgb or len(offsets) != rows * columns or len(counts) != rows * columns or not counts.all():
        return None
    short = {
        256: tile[0],
        257: tile[1],
        259: tiff.number(page, tiff_pyramid.COMPRESSION, 1),
        262: tiff.number(page, tiff_pyramid.PHOTOMETRIC, 2),
        277: 3,
        278: tile[1],
        284: 1,
        _PREDICTOR: tiff.number(page, _PREDICTOR, 1),
    }
    tags: dict[int, tuple[str, list[int] | bytes]] = {code: ("I", [value]) for code, value in short.items()}
    tags[258] = ("H", [8, 8, 8])
    if tables := tiff.content(page, tiff_pyramid.TABLES):
        tags[tiff_pyramid.TABLES] = ("B", tables)
    if len(subsampling := tiff.numbers(page, _SUBSAMPLING, 2)) == 2:
        tags[_SUBSAMPLING] = ("H", subsampling.tolist())
    shape = (rows, columns)
    return StoredLevel(LocalFile(path), tile, offsets.reshape(shape), counts.reshape(shape), short[259], tags)
