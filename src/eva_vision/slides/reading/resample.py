"""Resampling, so that a patch is as sharp as if it came from level 0 by area."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_CLOSE = 1.45
"""Old pixels in a new one, below which how sharp it is depends on how places between old pixels are found."""


def area_resize(pixels: np.ndarray, width: int, height: int, span: float | None = None, order: int = 2) -> np.ndarray:
    """Each new pixel from the area that it covers: uint8 (H, W, 3) -> (height, width, 3).

    The sum of a row up to any place, interpolated between whole places by Lagrange's polynomial through `order` of
    them; a new pixel is the difference of two such sums. Whole factors average exactly at any order. Order 2 counts
    old pixels by the share that is covered: the exact area, if each was one colour (58 dB on tissue, for shares are
    256ths; Pillow's box filter takes pixels as a whole or not at all: 30 dB, in more time). Pixels that are means
    themselves are no one colour, and order 2 blurs them twice; higher orders undo that, see `sharp_order`.

    Args:
        pixels: At least as large as the result.
        width: Width of the result in pixels.
        height: Height of the result in pixels.
        span: How many old pixels of a square are covered from its corner on; None: all, of any shape.
        order: Number of places that a sum is interpolated through: even, 12 at most.

    Examples:
        >>> row = np.array([[0, 100, 200, 200]], np.uint8)
        >>> area_resize(np.stack([row] * 3, axis=-1), width=2, height=1)[..., 0].tolist()
        [[50, 200]]
    """
    rows, columns = pixels.shape[:2]
    down, across = (span, span) if span else (float(rows), float(columns))
    if (down / height).is_integer() and (across / width).is_integer():
        if (down, across) == (height, width):
            return pixels
        return np.asarray(Image.fromarray(pixels).reduce((int(across) // width, int(down) // height)))
    shrunk = _shrink(pixels.reshape(rows, -1), down, height, order)
    # columns by way of a transpose, since adding whole rows is fast; of (height, columns * 3), for numpy moves single
    # numbers five times faster than threes of them
    turned = _shrink(np.ascontiguousarray(shrunk.T).reshape(columns, -1), across, width, order)
    return np.ascontiguousarray(turned.reshape(-1, height).T).reshape(height, width, 3)


def sharp_order(step: float, ratio: float) -> int:
    """The order at which `area_resize` keeps the high frequencies that one area from level 0 has, measured on tissue.

    Args:
        step: Level-0 pixels that an old pixel spans.
        ratio: Old pixels that a new one spans, above 1.
    """
    if step == 1:
        return 2
    if step > 2:
        return 12 if ratio < _CLOSE else 8
    if ratio == 1.5:
        return 8  # every other place lies half-way, where low orders lose most
    return 6 if ratio < _CLOSE else 4  # less, for there is less of the highest frequencies than further down


def enlarge(pixels: np.ndarray, size: int, span: float) -> np.ndarray:
    """The first `span` pixels of a square by Pillow's cubic, uint8 (H, H, 3) -> (size, size, 3)."""
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=(0, 0, span, span))
    return np.asarray(image)


def _shrink(pixels: np.ndarray, span: float, length: int, order: int) -> np.ndarray:
    """Fewer rows, from the first `span` of them: uint8 (n, m) -> (length, m)."""
    if span == length:
        return pixels
    bits, weights = _weights(len(pixels), span, length, order)
    total: np.ndarray = weights @ pixels.astype(np.int16)
    # 128 less than the pixel, which keeps the end within int16, also where orders above 2 overshoot by a third; that
    # sums on the way there may wrap does no harm
    total += np.int16((1 << bits - 1) - (128 << bits))
    total >>= bits
    if order > 2:
        np.clip(total, -128, 127, out=total)
    total += 128
    return total.astype(np.uint8)


@lru_cache(512)
def _weights(n: int, span: float, length: int, order: int) -> tuple[int, "csr_array"]:
    """Bits of a weight of 1; the weight of each old row in each new one, int16 (length, n), of which few are not 0."""
    from scipy.sparse import csr_array  # here, for it takes longer to import than the rest of reading

    bits = 8 if order == 2 else 7
    edges = np.arange(length + 1) * (span / length)
    before = np.minimum(edges.astype(np.int32), n - 1)
    places, polynomial = _lagrange(order)
    sums = np.vander(edges - before, order, increasing=True) @ polynomial  # (length + 1, order)
    # a row counts in all sums that end after it: how much does one that begins at each of these places
    counts = np.zeros((length + 1, order + 1))
    counts[:, order - 1 :: -1] = np.cumsum(sums[:, ::-1], axis=1)
    further = before[1:] - before[:-1]
    at = np.arange(int(further.max()) + order - 1, dtype=np.int32)
    rows = np.arange(order + 1, counts.size, order + 1)[:, None]
    ends = np.take(counts, np.clip(at + 1 - further[:, None], 0, order) + rows)
    share = np.cumsum(ends - counts[:-1, np.minimum(at + 1, order)], axis=1) * (length / span)
    upto = np.floor(share * 2**bits + 0.5)
    weights = upto.astype(np.int16)
    weights[:, 1:] -= weights[:, :-1].copy()
    used = weights != 0
    starts = np.zeros(length + 1, np.int32)
    np.cumsum(used.sum(axis=1), out=starts[1:])
    numbers = np.clip((before[:-1] + np.int32(places[0]))[:, None] + at, 0, n - 1)
    return bits, csr_array((weights[used], numbers[used], starts), shape=(length, n))


@lru_cache(8)
def _lagrange(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole places round 0 to 1, (order,); and by powers of t what each weighs in the polynomial through all at t."""
    places = np.arange(order) - (order // 2 - 1)
    return places, np.linalg.inv(np.vander(places.astype(float), increasing=True))
