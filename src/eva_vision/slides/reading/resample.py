"""Resampling, so that a patch is as sharp as if it came from level 0 by area."""

from functools import lru_cache

import numpy as np
from PIL import Image

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
    # columns by way of a transpose, since adding whole rows is what numpy does fast
    shrunk = _shrink(np.ascontiguousarray(_shrink(pixels, down, height, order).swapaxes(0, 1)), across, width, order)
    return np.ascontiguousarray(shrunk.swapaxes(0, 1))


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
    """Fewer rows, from the first `span` of them: uint8 (n, m, 3) -> (length, m, 3)."""
    if span == length:
        return pixels
    rows = pixels.reshape(len(pixels), -1).astype(np.int16)
    bits, taps = _taps(len(pixels), span, length, order)
    # 128 less than the pixel, which keeps the end within int16, also where orders above 2 overshoot by a third; that
    # sums on the way there may wrap does no harm
    total = np.full((length, rows.shape[1]), (1 << bits - 1) - (128 << bits), np.int16)
    term = np.empty_like(total)
    for numbers, weight in taps:
        np.take(rows, numbers, 0, out=term, mode="clip")  # "raise" would copy
        term *= weight
        total += term
    total >>= bits
    if order > 2:
        np.clip(total, -128, 127, out=total)
    total += 128
    return total.astype(np.uint8).reshape(length, *pixels.shape[1:])


@lru_cache(512)
def _taps(n: int, span: float, length: int, order: int) -> tuple[int, list[tuple[np.ndarray, np.ndarray]]]:
    """Bits of a weight of 1; of the first, second, ... old row of new ones number (length,) and weight (length, 1)."""
    bits = 8 if order == 2 else 7
    edges = np.arange(length + 1) * (span / length)
    before = np.minimum(edges.astype(int), n - 1)
    places, polynomial = _lagrange(order)
    sums = np.vander(edges - before, order, increasing=True) @ polynomial  # (length + 1, order)
    first = before[:-1] + places[0]
    width = int((before[1:] - before[:-1]).max()) + order - 1
    numbers = first[:, None] + np.arange(width)
    # a row counts in all sums that end after it
    weights = _until(sums[1:], before[1:] + places[0], numbers) - _until(sums[:-1], first, numbers)
    share = np.cumsum(weights, axis=1) * (length / span)
    weights = np.diff(np.floor(share * 2**bits + 0.5), axis=1, prepend=0).astype(np.int16)
    numbers = np.clip(numbers, 0, n - 1)
    used = np.flatnonzero(weights.any(axis=0))
    return bits, [(np.ascontiguousarray(numbers[:, t]), weights[:, t, None].copy()) for t in used]


@lru_cache(8)
def _lagrange(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole places round 0 to 1, (order,); and by powers of t what each weighs in the polynomial through all at t."""
    places = np.arange(order) - (order // 2 - 1)
    return places, np.linalg.inv(np.vander(places.astype(float), increasing=True))


def _until(sums: np.ndarray, first: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """How much rows `numbers` count in interpolated sums, of which the first weight is that of place `first`."""
    order = sums.shape[1]
    tail = np.concatenate([np.cumsum(sums[:, ::-1], axis=1)[:, ::-1], np.zeros((len(sums), 1))], axis=1)
    return np.take_along_axis(tail, np.clip(numbers - first[:, None] + 1, 0, order), axis=1)
