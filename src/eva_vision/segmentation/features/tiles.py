"""Cutting images into tiles, and one map from the predictions of overlapping tiles. Free of torch.

Along each axis every pixel is owned by the tile in which it lies furthest from a border, where a network sees it with
the most context: the bounds are the middles of the overlaps. So a stitched map has every pixel once, averages nothing,
and does not depend on the order of the tiles.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

from eva_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image, in pixels of the image after it was brought to the wanted mpp.

    Attributes:
        sample: Number of the sample in its dataset.
        y: First row.
        x: First column.
    """

    sample: int
    y: int
    x: int


def grid(height: int, width: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Corners (y, x), row by row, of the fewest evenly spread tiles that cover an image.

    The first begins at 0 and the last ends at the border; an image smaller than a tile has one that reaches beyond it.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        tile: Side of a tile in pixels.
        overlap: Pixels that neighbours share at least.

    Raises:
        UsageError: The overlap is not smaller than the tile.

    Examples:
        >>> grid(100, 250, tile=100, overlap=20)
        [(0, 0), (0, 75), (0, 150)]
    """
    columns = _starts(width, tile, overlap)
    return [(y, x) for y in _starts(height, tile, overlap) for x in columns]


def inside(height: int, width: int, tile: int) -> list[tuple[int, int]]:
    """Corners (y, x), row by row, of the tiles side by side from 0 that lie in the image as a whole.

    Images were cut so for the published numbers of eva 0.4 (kaiko-ai/eva). One smaller than a tile has none.

    Examples:
        >>> inside(100, 250, tile=100)
        [(0, 0), (0, 100)]
    """
    return [(y, x) for y in range(0, height - tile + 1, tile) for x in range(0, width - tile + 1, tile)]


def cut(image: np.ndarray, y: int, x: int, tile: int, fill: int | None = None) -> np.ndarray:
    """Copy one tile: (H, W, ...) -> (tile, tile, ...).

    Args:
        image: Image or mask.
        y: First row.
        x: First column.
        tile: Side of the tile in pixels.
        fill: What lies beyond the border, for masks; None: the image mirrored, with its last row and column repeated.

    Raises:
        ValueError: The tile does not begin in the image.
    """
    height, width = image.shape[:2]
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(f"Expected a tile that begins in an image of {height} x {width} px, but got y={y}, x={x}.")
    part = image[y : y + tile, x : x + tile]
    beyond = [(0, tile - part.shape[0]), (0, tile - part.shape[1])] + [(0, 0)] * (image.ndim - 2)
    if fill is None:
        return np.pad(part, beyond, mode="symmetric")
    return np.pad(part, beyond, constant_values=fill)


def scaled_size(height: int, width: int, mpp: float, target_mpp: float) -> tuple[int, int]:
    """Height and width in whole pixels, at least 1, of an image that is brought from one mpp to another.

    Raises:
        UsageError: An mpp is not a number above 0.

    Examples:
        >>> scaled_size(512, 768, mpp=0.25, target_mpp=0.5)
        (256, 384)
    """
    for value in (mpp, target_mpp):
        if not 0 < value < float("inf"):
            raise UsageError(f"Expected micrometres per pixel above 0, but got {value}.")
    return max(1, round(height * mpp / target_mpp)), max(1, round(width * mpp / target_mpp))


def rescale(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear and antialiased: uint8 (H, W, 3) -> uint8 (height, width, 3)."""
    if image.shape[:2] == size:
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def rescale_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest label at each new pixel's centre: (H, W) -> (height, width), of the same type."""
    if labels.shape == size:
        return labels
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, labels.shape, strict=True))
    nearest: np.ndarray = labels[rows[:, None], columns]
    return nearest


def owned(height: int, width: int, tile: int, overlap: int) -> list[tuple[int, int, slice, slice]]:
    """The tiles of `grid`, in its order, as (y, x, rows, columns): the pixels of the image that each of them owns.

    Every pixel is owned once.
    """
    columns = _owned(width, tile, overlap)
    return [(y, x, ys, xs) for y, ys in _owned(height, tile, overlap) for x, xs in columns]


def stitch(predictions: Iterable[np.ndarray], height: int, width: int, tile: int, overlap: int) -> np.ndarray:
    """One map from the predictions of tiles: each pixel as predicted by the tile that owns it.

    Args:
        predictions: Maps of the tiles of `grid` in its order, (..., tile, tile): of classes, of one run or of several.
            As many are taken as the image has tiles, so the tiles of many images can come from one iterator.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        tile: Side of a tile in pixels.
        overlap: As the tiles were cut.

    Returns:
        (..., height, width), of the type of the predictions.

    Raises:
        ValueError: A map is not of the tile's size, or there are fewer maps than tiles.
    """
    parts = owned(height, width, tile, overlap)
    stitched = None
    done = 0
    for (y, x, rows, columns), labels in zip(parts, predictions, strict=False):
        if labels.shape[-2:] != (tile, tile):
            raise ValueError(f"Expected maps of {tile} x {tile} px, but got {labels.shape}.")
        if stitched is None:
            stitched = np.empty((*labels.shape[:-2], height, width), labels.dtype)
        stitched[..., rows, columns] = labels[..., _shifted(rows, y), _shifted(columns, x)]
        done += 1
    if stitched is None or done < len(parts):
        raise ValueError(f"Expected the maps of {len(parts)} tiles, but got {done}.")
    return stitched


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along one axis."""
    if not 0 <= overlap < tile:
        raise UsageError(
            f"Expected an overlap of at least 0 and less than the tile of {tile} px, but got {overlap}. "
            "Set protocol.segmentation.overlap or protocol.segmentation.tile."
        )
    steps = max(0, -(-(length - tile) // (tile - overlap)))
    return [k * (length - tile) // steps for k in range(steps + 1)] if steps else [0]


def _owned(length: int, tile: int, overlap: int) -> list[tuple[int, slice]]:
    """First pixels of the tiles along one axis, and what they own."""
    firsts = _starts(length, tile, overlap)
    middles = [(start + tile + after) // 2 for start, after in pairwise(firsts)]
    return [
        (start, slice(first, end)) for start, first, end in zip(firsts, [0, *middles], [*middles, length], strict=True)
    ]


def _shifted(pixels: slice, start: int) -> slice:
    return slice(pixels.start - start, pixels.stop - start)
