"""How a patch is read: from which level, at which scale of the JPEG decoder, which pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eva_core.errors import UsageError

TOLERANCE = 1e-3
"""A level serves although it is coarser than asked by this share: pyramids of odd sizes are never exact."""
_SAME = 5e-3
"""Share by which scales of sources may differ for the one with the fewest bytes to be read."""


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: its size in its own pixels, and how many level-0 pixels one of them spans."""

    width: int
    height: int
    downsample: float


@dataclass(frozen=True)
class Plan:
    """The pixels that make a patch.

    Attributes:
        level: Level of the pyramid.
        reduce: Scale of the JPEG decoder: 1, 2, 4 or 8 level pixels become one.
        left: First column, in pixels of the level after reduction; may lie outside.
        top: First row, in the same pixels.
        span: Side of the region in the same pixels, a fraction where no whole number gives the exact mpp.
        mpp: Micrometres per pixel of the patch: those that were asked, or of the source that is as good as that.
        side: Pixels to read for it.
        step: Level-0 pixels that one of them spans.
        x: Level-0 column of the corner, after snapping.
        y: Level-0 row of the corner, after snapping.
        inside: Share of the region that lies in the slide.
    """

    level: int
    reduce: int
    left: int
    top: int
    span: float
    mpp: float
    side: int
    step: float
    x: int
    y: int
    inside: float


def plan(
    levels: Sequence[Level], reduces: Sequence[int], level0_mpp: float, x: int, y: int, size: int, mpp: float
) -> Plan:
    """Choose the coarsest source that is fine enough, and snap the corner to its pixels.

    Args:
        levels: Levels of the slide, the largest first.
        reduces: Scales that the decoder offers, ascending from 1.
        level0_mpp: Micrometres per pixel of level 0.
        x: Level-0 column of the corner; it may lie outside.
        y: Level-0 row of the corner; it may lie outside.
        size: Side of the patch in pixels.
        mpp: Micrometres per pixel of the patch.

    Raises:
        UsageError: A size below 1, or an mpp that is not positive.
    """
    if size < 1:
        raise UsageError(f"Expected argument size to be at least 1, but got {size}. Give the patch's side in pixels.")
    if not 0 < mpp < float("inf"):
        raise UsageError(f"Expected argument mpp to be positive, but got {mpp}. Give micrometres per pixel.")
    scale = mpp / level0_mpp
    level, reduce, step = _source(levels, reduces, scale)
    left, top = round(x / step), round(y / step)
    span = round(size * scale / step, 6)  # 187.00000000000003 is 187
    if abs(span - size) < 0.5 and abs(span / size - 1) <= 2 * TOLERANCE:
        span = float(size)  # native: the pixels as they are, which is told where they are not what was asked
        mpp = mpp if math.isclose(step * level0_mpp, mpp) else step * level0_mpp
    side = math.ceil(span)
    width, height = levels[level].width // reduce, levels[level].height // reduce
    inside = _overlap(left, side, width) * _overlap(top, side, height) / side**2
    return Plan(level, reduce, left, top, span, mpp, side, step, round(left * step), round(top * step), inside)


def _source(levels: Sequence[Level], reduces: Sequence[int], scale: float) -> tuple[int, int, float]:
    """Level, reduction and their product in level-0 pixels: the coarsest that serves, else the finest there is."""
    sources = [(i, k, level.downsample * k) for i, level in enumerate(levels) for k in reduces]
    fit = [source for source in sources if source[2] <= scale * (1 + TOLERANCE)]
    if not fit:
        return 0, 1, levels[0].downsample
    coarsest = max(step for _, _, step in fit)
    return max((s for s in fit if s[2] >= coarsest * (1 - _SAME)), key=lambda s: (s[0], -s[1]))


def _overlap(first: int, length: int, end: int) -> int:
    return max(0, min(first + length, end) - max(first, 0))


def downsample(full: tuple[int, int], level: tuple[int, int]) -> float:
    """Level-0 pixels per pixel of a level, from their (width, height).

    A whole number where both sides can come from it by rounding, a power of 2 before others: a scanner that halves
    46,003 px writes 23,001, yet the pixels lie on a grid of 2.

    Examples:
        >>> downsample((46003, 32914), (23001, 16457))
        2.0
    """
    mean = sum(a / b for a, b in zip(full, level, strict=True)) / 2
    low, high = _scales(full, level)
    for integer in (2 ** max(0, round(math.log2(mean))), round(mean)):
        if low <= integer <= high:
            return float(integer)
    return mean


def is_smaller_copy(full: tuple[int, int], level: tuple[int, int], tile: tuple[int, int] | None = None) -> bool:
    """Whether a level has the shape of level 0: its sides have one ratio to those of level 0, within rounding.

    Levels that are padded to whole tiles (Philips) have not, or one that is no whole number, by which they are told
    where both axes are padded alike, or level 0 alone is padded.

    Args:
        full: Width and height of level 0.
        level: Width and height of the level.
        tile: Width and height of its tiles, where it has any.
    """
    low, high = _scales(full, level)
    if low > high or high < 1:
        return False
    whole_tiles = tile is not None and any(
        not any(side % n for side, n in zip(sides, tile, strict=True)) for sides in (full, level)
    )
    return not whole_tiles or downsample(full, level).is_integer()


def _scales(full: tuple[int, int], level: tuple[int, int]) -> tuple[float, float]:
    """The least and the largest scale at which both sides come within a pixel of those of the level."""
    sides = list(zip(full, level, strict=True))
    return max(a / (b + 1) for a, b in sides), min(a / (b - 1) if b > 1 else math.inf for a, b in sides)
