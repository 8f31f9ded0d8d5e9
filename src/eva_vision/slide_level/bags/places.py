"""Which patches of a slide make its bag: a grid over the tissue, chosen by the slide alone."""

import hashlib
from dataclasses import dataclass

import numpy as np

from eva_core.errors import EvaError
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.sampling import COARSER
from eva_vision.slides.tissue_mask import TissueMask

_SATURATION, _FOREGROUND, _MASK_PIXELS, _SEED = 20, 0.35, 9, 42
"""What kaiko-eva calls tissue: share of pixels more saturated than 20 of 255; of a patch of at least 9 mask pixels."""


@dataclass(frozen=True)
class Places:
    """The patches of a slide.

    Attributes:
        corners: Columns and rows of their corners, in pixels of the level that is read, int32 (n, 2).
        coords: The same in level-0 pixels, int32 (n, 2).
        side: Side of a patch in level-0 pixels.
        mpp: Micrometres per pixel of what the model is given, before its own resize.
        level: Level that is read as it is; None: patches are resampled to `mpp`.
        candidates: Patches of tissue that the slide has, of which these were chosen.
    """

    corners: np.ndarray
    coords: np.ndarray
    side: float
    mpp: float
    level: int | None
    candidates: int

    def read(self, slide: Slide, number: int, size: int) -> np.ndarray:
        """The pixels of a patch, uint8 (size, size, 3)."""
        x, y = self.corners[number].tolist()
        if self.level is None:
            return slide.read(x, y, size, self.mpp)
        return slide.region(self.level, 1, x, y, size, size)


def choose_places(slide: Slide, mask: TissueMask | None, section: SlideLevel, identity: str) -> Places:
    """Choose the patches of a slide.

    Args:
        slide: Open.
        mask: Its tissue; None under `level`, which has a mask of its own.
        section: How patches are laid out, and how many.
        identity: Of the slide: it seeds the choice.
    Raises:
        EvaError: The slide is coarser than asked.
    """
    finest = slide.mpp / (COARSER if mask is not None else 1)
    if finest > section.mpp:
        raise EvaError(
            f"Expected {section.mpp:g} micrometres per pixel or finer, but {slide.name} has {slide.mpp:g}. "
            "Leave it out, or ask for a coarser mpp."
        )
    return _of_level(slide, section) if mask is None else _of_grid(slide, mask, section, identity)


def _of_grid(slide: Slide, mask: TissueMask, section: SlideLevel, identity: str) -> Places:
    """Squares side by side at exactly the mpp, of which enough is tissue."""
    cell = section.size * section.mpp / slide.mpp
    cells = np.argwhere(mask.grid(cell) >= section.tissue)  # (candidates, 2): row, column
    stream = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8])
    chosen = np.sort(np.random.default_rng(stream).permutation(len(cells))[: section.patches])
    coords = np.rint(cells[chosen][:, ::-1] * cell).astype(np.int32)
    return Places(coords, coords, cell, section.mpp, None, len(cells))


def _of_level(slide: Slide, section: SlideLevel) -> Places:
    """Patches of a level as it is, as kaiko-eva takes them (kaiko-ai/eva @ 73b61a79)."""
    number = max(n for n, level in enumerate(slide.levels) if slide.mpp * level.downsample <= section.mpp or n == 0)
    level, size = slide.levels[number], section.size
    grid = [(x, y) for x in range(0, level.width - size + 1, size) for y in range(0, level.height - size + 1, size)]
    np.random.default_rng(_SEED).shuffle(grid)
    tissue = _saturated(slide, size * level.downsample)
    kept = [corner for corner in grid if tissue(*(c * level.downsample for c in corner))]
    corners = np.array(sorted(kept[: section.patches]), np.int32).reshape(-1, 2)
    coords = np.rint(corners * level.downsample).astype(np.int32)
    return Places(corners, coords, size * level.downsample, slide.mpp * level.downsample, number, len(kept))


class _saturated:
    """Whether enough of a square at a level-0 corner is saturated, seen at the coarsest level that is fine enough."""

    def __init__(self, slide: Slide, side: float) -> None:
        fine = [n for n, level in enumerate(slide.levels) if (side / level.downsample) ** 2 >= _MASK_PIXELS]
        self.number = max(fine, default=0)
        level = slide.levels[self.number]
        self.downsample, self.side = level.downsample, max(1, int(side / level.downsample))
        pixels = slide.region(self.number, 1, 0, 0, level.width, level.height).astype(np.float32)
        highest = pixels.max(2)
        share = (highest - pixels.min(2)) / np.maximum(highest, 1)
        self.mask = np.rint(255 * share) > _SATURATION

    def __call__(self, x: float, y: float) -> bool:
        column, row = int(x / self.downsample), int(y / self.downsample)
        square = self.mask[row : row + self.side, column : column + self.side]
        return bool(square.size) and bool(square.mean() >= _FOREGROUND)
