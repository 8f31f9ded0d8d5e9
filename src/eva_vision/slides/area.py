"""Resampling, so that a patch is as sharp as if it came from level 0 by area."""

import math
from functools import lru_cache

import numpy as np
from PIL import Image


def area_resize(pixels: np.ndarray, width: int, height: int, span: float | None = None) -> np.ndarray:
    """Each new pixel from the area that it covers: uint8 (H, W, 3) -> (height, width, 3).

    Whole factors average exactly. For others old pixels count by the share that is covered, in 256ths (58 dB from the
    exact area on tissue); Pillow's box filter would take them wholly or not at all (30 dB), in more time.

    Args:
        pixels: At least as large as the result.
        width: New.
        height: New.
        span: Of a square, how many old pixels from the corner are covered; None: all, of any shape.
    """
    rows, columns = pixels.shape[:2]
    down, across = (span, span) if span else (float(rows), float(columns))
    if (down / height).is_integer() and (across / width).is_integer():
        if (down, across) == (height, width):
            return pixels
        return np.asarray(Image.fromarray(pixels).reduce((int(across) // width, int(down) // height)))
    # columns by way of a transpose, since adding whole rows is what numpy does fast
    shrunk = _shrink(np.ascontiguousarray(_shrink(pixels, down, height).swapaxes(0, 1)), across, width)
    return np.ascontiguousarray(shrunk.swapaxes(0, 1))


def cubic_resize(pixels: np.ndarray, size: int, span: float) -> np.ndarray:
    """A square by Pillow's antialiased cubic, (H, H, 3) -> (size, size, 3): for pixels that are means already.

    The area of means blurs twice: of the energy above a quarter of the sampling rate it leaves 65 to 83 % of what one
    area from level 0 has, on tissue; this leaves 83 to 93 % at a higher signal-to-noise ratio, in place of a sharper
    Lanczos with up to 115 %.
    """
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=(0, 0, span, span))
    return np.asarray(image)


def _shrink(pixels: np.ndarray, span: float, length: int) -> np.ndarray:
    """Fewer rows, from the first `span` of them: uint8 (n, m, 3) -> (length, m, 3)."""
    if span == length:
        return pixels
    rows = pixels.reshape(len(pixels), -1).astype(np.uint16)
    taps = iter(_taps(len(pixels), span, length))
    first, weight = next(taps)
    total = rows.take(first, 0)
    total *= weight  # weights add up to 256, so nothing passes 255 * 256 + 127 < 2**16
    part = np.empty_like(total)
    for at, weight in taps:
        np.take(rows, at, 0, out=part, mode="clip")  # "raise" would copy
        part *= weight
        total += part
    total += 127
    total >>= 8
    return total.astype(np.uint8).reshape(length, *pixels.shape[1:])


@lru_cache(512)
def _taps(n: int, span: float, length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For the first, second, ... old row that a new one covers: its number (length,), and its weight (length, 1)."""
    edges = np.arange(length + 1) * (span / length)
    at = np.minimum(edges[:-1].astype(int), n - 1)[:, None] + np.arange(math.ceil(span / length) + 1)
    covered = np.clip(np.minimum(at + 1, edges[1:, None]) - np.maximum(at, edges[:-1, None]), 0, None)
    share = np.cumsum(covered, axis=1) * (length / span)
    weights = np.diff(np.floor(share * 256 + 0.5), axis=1, prepend=0).astype(np.uint16)
    at = np.minimum(at, n - 1)
    return [(np.ascontiguousarray(at[:, t]), weights[:, t, None].copy()) for t in np.flatnonzero(weights.any(axis=0))]
