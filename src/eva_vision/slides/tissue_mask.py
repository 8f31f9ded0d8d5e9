"""A tissue mask as it is kept: a bit a pixel, and what sampling asks of it."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from eva_core.errors import EvaError

_HEADER = struct.Struct("<4sBIIIId")
_MAGIC, _VERSION = b"EVAM", 1


@dataclass(frozen=True, eq=False)
class TissueMask:
    """The tissue of a slide, as a mask.

    Attributes:
        bits: Rows of the mask, 8 pixels a byte, uint8 (height, ceil(width / 8)).
        width: Width of the mask in its pixels.
        height: Height of the mask in its pixels.
        slide_width: Width of the slide in level-0 pixels.
        slide_height: Height of the slide in level-0 pixels.
        slide_mpp: Micrometres per level-0 pixel.
        row_sums: Pixels of tissue in each row and all above, int64 (height,).
    """

    bits: np.ndarray
    width: int
    height: int
    slide_width: int
    slide_height: int
    slide_mpp: float
    row_sums: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, slide_width: int, slide_height: int, slide_mpp: float) -> "TissueMask":
        """Pack a mask of the whole slide, bool (height, width)."""
        height, width = mask.shape
        row_sums = np.cumsum(np.count_nonzero(mask, axis=1))
        return cls(np.packbits(mask, axis=1), width, height, slide_width, slide_height, slide_mpp, row_sums)

    @property
    def pixels(self) -> np.ndarray:
        """Unpack the mask: bool (height, width)."""
        return np.unpackbits(self.bits, axis=1, count=self.width).astype(bool)

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of the mask, along the longer side."""
        return self.slide_mpp * max(self.slide_width, self.slide_height) / max(self.width, self.height)

    @property
    def area(self) -> float:
        """Tissue in mm2."""
        share = int(self.row_sums[-1]) / (self.width * self.height)
        return share * self.slide_width * self.slide_height * self.slide_mpp**2 * 1e-6

    def share(self, x: float, y: float, side: float) -> float:
        """Compute the share of tissue in a square, exactly; what lies beyond the slide is none.

        Args:
            x: Level-0 column of its corner.
            y: Level-0 row of its corner.
            side: Side in level-0 pixels.

        Examples:
            >>> quarter = np.array([[True, False], [False, False]])
            >>> mask = TissueMask.of(quarter, slide_width=200, slide_height=200, slide_mpp=0.5)
            >>> mask.share(0, 0, 200), mask.share(0, 0, 100)
            (0.25, 1.0)
        """
        columns, across = _weights(x, side, self.slide_width / self.width, self.width)
        rows, down = _weights(y, side, self.slide_height / self.height, self.height)
        first = columns.start // 8
        tissue = np.unpackbits(self.bits[rows, first : (columns.stop + 7) // 8], axis=1)
        return float(down @ tissue[:, columns.start - 8 * first : columns.stop - 8 * first] @ across)

    def shares(self, side: float) -> np.ndarray:
        """The share of squares at the corner of every pixel of the mask, as far as they lie in the slide.

        Args:
            side: Side of a square in level-0 pixels.

        Returns:
            float64 (rows, columns).
        """
        total = np.zeros((self.height + 1, self.width + 1))
        np.cumsum(np.cumsum(self.pixels, axis=0, dtype=np.int32), axis=1, out=total[1:, 1:])
        across, down = side * self.width / self.slide_width, side * self.height / self.slide_height
        for axis, length in ((0, down), (1, across)):
            total = _difference(total, length, axis)
        return total / (across * down)

    def grid(self, side: float) -> np.ndarray:
        """The share of squares side by side from the corner on, as far as they lie in the slide, exactly.

        Args:
            side: Side of a square in level-0 pixels.

        Returns:
            float64 (rows, columns).
        """
        tissue = self.pixels.astype(float)
        for axis, (extent, length) in enumerate(((self.slide_height, self.height), (self.slide_width, self.width))):
            edges = np.arange(int(extent / side) + 1) * (side * length / extent)
            index = np.minimum(edges.astype(int), length - 1)
            fractions = np.expand_dims(edges - index, 1 - axis) * tissue.take(index, axis)
            tissue = np.diff(
                np.cumsum(tissue, axis).take(index, axis) - tissue.take(index, axis) + fractions, axis=axis
            )
        return tissue * (self.slide_width * self.slide_height / (side**2 * self.width * self.height))

    def nth(self, n: int) -> tuple[int, int]:
        """Row and column of the nth pixel of tissue, row by row from 0."""
        row = int(np.searchsorted(self.row_sums, n, side="right"))
        before = int(self.row_sums[row - 1]) if row else 0
        return row, int(np.flatnonzero(np.unpackbits(self.bits[row]))[n - before])

    def to_bytes(self) -> bytes:
        """Pack the mask for storage: a header; then, deflated, the pixels of tissue in each row and the bits."""
        sizes = (self.width, self.height, self.slide_width, self.slide_height)
        rows = np.diff(self.row_sums, prepend=0).astype("<u4")
        return _HEADER.pack(_MAGIC, _VERSION, *sizes, self.slide_mpp) + zlib.compress(
            rows.tobytes() + self.bits.tobytes()
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "TissueMask":
        """Read a mask from what `to_bytes` gave.

        Raises:
            EvaError: It is something else, or damaged.
        """
        try:
            magic, version, width, height, slide_width, slide_height, mpp = _HEADER.unpack_from(content)
            if (magic, version) != (_MAGIC, _VERSION):
                raise ValueError(f"it begins with {magic!r}, version {version}")
            body = zlib.decompress(content[_HEADER.size :])
            rows = np.frombuffer(body, "<u4", height)
            bits = np.frombuffer(body, np.uint8, offset=4 * height).reshape(height, -(-width // 8))
        except (struct.error, zlib.error, ValueError) as error:
            raise EvaError(
                f"Expected a tissue mask, but got something else ({error}). Index the slide again."
            ) from error
        return cls(bits, width, height, slide_width, slide_height, mpp, np.cumsum(rows, dtype=np.int64))


def _weights(start: float, side: float, scale: float, length: int) -> tuple[slice, np.ndarray]:
    """Pixels of the mask that a stretch of level-0 pixels touches, and the share of the stretch in each."""
    low, high = start / scale, (start + side) / scale
    first, last = min(max(int(np.floor(low)), 0), length), min(max(int(np.ceil(high)), 0), length)
    edges = np.arange(first, max(last, first) + 1, dtype=float).clip(low, high)
    return slice(first, max(last, first)), np.diff(edges) / (high - low)


def _difference(total: np.ndarray, length: float, axis: int) -> np.ndarray:
    """Sums over stretches of a length from every whole place on, out of running sums; interpolated between pixels."""
    whole, fraction = int(length), length - int(length)
    size = total.shape[axis] - 1
    firsts = np.arange(max(0, int(size - length + 1e-9) + 1))
    ends = np.minimum(firsts + whole, size)  # a square may be a pixel of the mask longer than the slide
    end = total.take(ends, axis) * (1 - fraction) + total.take(np.minimum(ends + 1, size), axis) * fraction
    sums: np.ndarray = end - total.take(firsts, axis)
    return sums
