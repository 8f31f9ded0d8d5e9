"""The fast path: tiles of a JPEG TIFF by their offsets, decoded at the scale that is wanted."""

import io
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import simplejpeg
from typing_extensions import override

from eva_core.errors import EvaError
from eva_vision.slides.reading.blobs import Blob, is_url
from eva_vision.slides.reading.jpeg_rows import first_rows
from eva_vision.slides.reading.mpp import decide_mpp
from eva_vision.slides.reading.readers import SlideReader
from eva_vision.slides.reading.slide import NotOpened, Region, Slide
from eva_vision.slides.reading.tiff_layout import Layout, Tiles, layout_of

__all__ = ["Layout", "LocalFile", "TiffSlide", "Undecodable", "layout_of"]

_GAP = 16_384
"""Bytes between two tiles of a row that are read along rather than asked for separately."""
_scratch = threading.local()

Span = tuple[int, int]
"""First byte, and the one after the last."""


class Source(Protocol):
    """Bytes of a file."""

    def ranges(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span."""

    def many(self, batches: Iterable[Sequence[Span]]) -> Iterator[list[bytes]]:
        """`ranges` of each batch, in order."""

    def close(self) -> None:
        """Give the file back."""


class LocalFile:
    """A file on disk. Positional reads share no state, so threads and forked processes may use the same handle."""

    def __init__(self, path: str | Path) -> None:
        """Open the file.

        Raises:
            EvaError: There is no such file.
        """
        self.path = path
        try:
            self._file = io.FileIO(path)  # which closes with the last reference, where nobody closes it
        except OSError as error:
            raise EvaError(f"Expected a slide at {path}, but it does not open ({error}). Check the path.") from error

    def ranges(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span.

        Raises:
            EvaError: The file ends before, or cannot be read.
        """
        try:
            parts = [os.pread(self._file.fileno(), stop - start, start) for start, stop in spans]
        except (OSError, ValueError) as error:  # ValueError: it is closed
            raise EvaError(f"Could not read {self.path} ({error}). Check the disk, or open the slide again.") from error
        for part, (start, stop) in zip(parts, spans, strict=True):
            if len(part) != stop - start:
                raise EvaError(
                    f"Expected {stop - start} bytes at {start} of {self.path}, but got {len(part)}: the file is cut. "
                    "Get the slide again."
                )
        return parts

    def many(self, batches: Iterable[Sequence[Span]]) -> Iterator[list[bytes]]:
        """`ranges` of each batch."""
        return map(self.ranges, batches)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()


class _Tile(NamedTuple):
    """A tile that a region touches: its place in the grid, and where its bytes are in the spans that are read."""

    row: int
    column: int
    span: int
    start: int
    stop: int


class Undecodable(EvaError):
    """Bytes of a tile that are there, but are not the JPEG that they should be."""


class TiffSlide(Slide):
    """A tiled JPEG TIFF, read by its layout."""

    description = "fast path: tiles by their offsets, JPEG decoded at 1, 1/2, 1/4 or 1/8"

    def __init__(self, path: str, source: Source, layout: Layout, mpp: float | None = None) -> None:
        """Keep what is known of the slide; nothing is read.

        Args:
            path: File or URL.
            source: Its bytes.
            layout: Where its tiles lie.
            mpp: Micrometres per pixel of level 0; None: as the layout says.

        Raises:
            UsageError: No mpp is known.
        """
        level0_mpp = decide_mpp(path, mpp, layout.mpp)
        super().__init__(path, level0_mpp, layout.vendor, layout.levels, (1, 2, 4, 8), layout.mpp)
        self.layout = layout
        self.source = source
        self._prefixes = [level.prefix for level in layout.tiles]
        self._sparse = [not level.counts.all() for level in layout.tiles]

    @property
    @override
    def memory(self) -> int:
        """Bytes of its tables of tiles."""
        return sum(level.offsets.nbytes + level.counts.nbytes for level in self.layout.tiles)

    @override
    def close(self) -> None:
        """Close the file."""
        self.source.close()

    @override
    def regions(self, wanted: Sequence[Region]) -> Iterator[np.ndarray]:
        touched = [self.tiles_under(*region) for region in wanted]
        read = self.source.many([spans for _, spans in touched])
        for region, (tiles, _), parts in zip(wanted, touched, read, strict=True):
            yield self._assemble(tiles, parts, region)

    @override
    def region(self, level: int, reduce: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        tiles, spans = self.tiles_under(level, reduce, left, top, width, height)
        return self._assemble(tiles, self.source.ranges(spans), (level, reduce, left, top, width, height))

    def tiles_under(
        self, level: int, reduce: int, left: int, top: int, width: int, height: int
    ) -> tuple[list[_Tile], list[Span]]:
        """Tiles under a region, and the spans to read: tiles of a row that lie together in the file make one."""
        grid = self.layout.tiles[level]
        across, down = grid.tile[0] // reduce, grid.tile[1] // reduce
        rows, columns = grid.counts.shape
        first, last = max(left // across, 0), min(-(-(left + width) // across), columns)
        tiles: list[_Tile] = []
        spans: list[Span] = []
        for row in range(max(top // down, 0), min(-(-(top + height) // down), rows)):
            begin = len(spans)
            offsets, counts = grid.offsets[row, first:last].tolist(), grid.counts[row, first:last].tolist()
            for column, (start, count) in enumerate(zip(offsets, counts, strict=True), first):
                if not count:
                    continue
                if len(spans) > begin and 0 <= start - spans[-1][1] <= _GAP:
                    spans[-1] = (spans[-1][0], start + count)
                else:
                    spans.append((start, start + count))
                place = start - spans[-1][0]
                tiles.append(_Tile(row, column, len(spans) - 1, place, place + count))
        return tiles, spans

    def _assemble(self, tiles: Sequence[_Tile], parts: Sequence[bytes], region: Region) -> np.ndarray:
        """Decode tiles into a region."""
        level, reduce, left, top, width, height = region
        grid = self.layout.tiles[level]
        across, down = grid.tile[0] // reduce, grid.tile[1] // reduce
        right, bottom = grid.width // reduce, grid.height // reduce  # a last pixel that the slide covers in part goes
        out = np.empty((height, width, 3), np.uint8)
        if left < 0 or top < 0 or left + width > right or top + height > bottom or self._sparse[level]:
            out[:] = 255
        for tile in tiles:
            x, y = tile.column * across, tile.row * down
            x0, x1 = max(x, left), min(x + across, left + width, right)
            y0, y1 = max(y, top), min(y + down, top + height, bottom)
            if x0 < x1 and y0 < y1:
                pixels = self._decode(parts[tile.span][tile.start : tile.stop], level, reduce, tile, y1 - y)
                out[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0 - y : y1 - y, x0 - x : x1 - x]
        return out

    def _decode(self, stream: bytes, level: int, reduce: int, tile: _Tile, rows: int) -> np.ndarray:
        """At least the first rows of one tile in a buffer that the next tile of this thread overwrites."""
        grid: Tiles = self.layout.tiles[level]
        width, height = grid.tile[0] // reduce, grid.tile[1] // reduce
        try:
            if stream[:2] != b"\xff\xd8":
                raise ValueError("no JPEG stream")
            stream = self._prefixes[level] + stream[2:]
            buffer = _buffer(3 * width * height)
            part = first_rows(stream, *grid.tile, reduce, rows, buffer)
            if part is not None:
                return part
            pixels: np.ndarray = simplejpeg.decode_jpeg(
                stream, min_width=width, min_height=height, min_factor=reduce, buffer=buffer
            )
            if pixels.shape != (height, width, 3):
                raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} px")
        except ValueError as error:
            raise Undecodable(
                f"Expected JPEG of {grid.tile[0]} x {grid.tile[1]} px in tile {tile.column}, {tile.row} of level "
                f"{level} of {self.path}, but it does not decode ({error}). Get the slide again, or leave it out."
            ) from error
        return pixels


class TiffReader(SlideReader):
    """The fast path: tiled TIFF with JPEG, local and remote."""

    @override
    def opens(self, path: str, first_bytes: bytes) -> bool:
        """Whether a file is a TIFF, or one that was compressed as a whole, which `open` refuses."""
        return first_bytes[:2] in (b"II", b"MM", b"\x1f\x8b")

    @override
    def open(self, path: str, mpp: float | None, state: bytes | None) -> TiffSlide:
        """Open by the layout that is in the state, else by the header of the file.

        Raises:
            NotOpened: Its tiles are not of a kind that the fast path decodes.
            UsageError: No mpp is known.
            EvaError: The file cannot be read, or is cut.
        """
        layout = Layout.from_bytes(state) if state else layout_of(path)
        if layout is None:
            raise NotOpened(f"Expected a tiled JPEG TIFF at {path}, but it is another file. Open it by OpenSlide.")
        source: Source = Blob(path) if is_url(path) else LocalFile(path)
        try:
            return TiffSlide(path, source, layout, mpp)
        except EvaError:
            source.close()
            raise

    @override
    def state(self, slide: Slide) -> bytes:
        """The layout of a slide."""
        assert isinstance(slide, TiffSlide)
        return slide.layout.to_bytes()


def _buffer(size: int) -> np.ndarray:
    """A buffer of this thread's: a new one for each tile costs page faults."""
    if getattr(_scratch, "buffer", np.empty(0)).size < size:
        _scratch.buffer = np.empty(size, np.uint8)
    buffer: np.ndarray = _scratch.buffer[:size]
    return buffer
