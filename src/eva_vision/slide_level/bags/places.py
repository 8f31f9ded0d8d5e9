"""Which patches of a slide make its bag: a grid over the tissue, chosen by the slide alone."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eva_core.errors import EvaError
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.sampling import COARSER
from eva_vision.slides.tissue_mask import TissueMask

_SATURATION, _MASK_PIXELS, _SEED = 20, 9, 42
"""What kaiko-eva calls tissue: pixels more saturated than 20 of 255; of a patch, at least 9 of them are looked at."""


@dataclass(frozen=True)
class Places:
    """The patches of a slide.

    Attributes:
        coords: Columns and rows of their corners, in level-0 pixels, int32 (n, 2).
        side: Side of a patch in level-0 pixels.
        mpp: Micrometres per pixel of what the model is given, before its own resize.
        pixels: Side of what the model is given, before its own resize.
        level: Level that is read as it is; None: patches are resampled to `mpp`.
        candidates: Patches of tissue that the slide has, of which these were chosen.
    """

    coords: np.ndarray
    side: float
    mpp: float
    pixels: int
    level: int | None
    candidates: int

    def read(self, slide: Slide, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """The pixels of patches, uint8 (pixels, pixels, 3) each, in this order; storage is asked for many at once."""
        corners, side = self.coords[numbers].tolist(), self.pixels
        if self.level is None:
            return (patch.pixels for patch in slide.read_each([(x, y, side, self.mpp) for x, y in corners]))
        step = slide.levels[self.level].downsample
        return slide.regions([(self.level, 1, round(x / step), round(y / step), side, side) for x, y in corners])


def refuse_coarse(slide: Slide, section: SlideLevel) -> None:
    """Refuse a slide that is coarser than asked.

    Raises:
        EvaError: It is; says by how much.
    """
    if slide.mpp > section.mpp * COARSER:
        raise EvaError(
            f"Expected {section.mpp:g} micrometres per pixel or finer, but {slide.name} has {slide.mpp:g}. "
            "Leave it out, or ask for a coarser mpp."
        )


def choose_places(slide: Slide, mask: TissueMask | None, section: SlideLevel, identity: str) -> Places:
    """Choose the patches of a slide that is fine enough.

    Args:
        slide: Open.
        mask: Its tissue; None under `level`, which has a mask of its own.
        section: How patches are laid out, and how many.
        identity: Identity of the slide, the same wherever it lies: it seeds the choice.
    """
    return _of_level(slide, section) if mask is None else _of_grid(slide, mask, section, identity)


def _of_grid(slide: Slide, mask: TissueMask, section: SlideLevel, identity: str) -> Places:
    """Squares side by side at exactly the mpp, of which enough is tissue."""
    cell = section.size * section.mpp / slide.mpp
    cells = np.argwhere(mask.grid(cell) >= section.tissue)  # (candidates, 2): row, column
    stream = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8])
    chosen = np.sort(np.random.default_rng(stream).permutation(len(cells))[: section.patches])
    coords = np.rint(cells[chosen][:, ::-1] * cell).astype(np.int32)
    return Places(coords, cell, section.mpp, section.size, None, len(cells))


def _of_level(slide: Slide, section: SlideLevel) -> Places:
    """Patches of a level as it is, as kaiko-eva takes them (kaiko-ai/eva @ 73b61a79).

    A patch is as wide as `size` pixels at `mpp`: of a level at 0.243, 230 pixels stand for 224 at 0.25. Corners are
    exact where level 0 is read, as in all of its datasets; on others they are of the nearest pixel.
    """
    full, side = slide.levels[0], _side(slide, 0, section)
    fine = [n for n, level in enumerate(slide.levels) if slide.mpp * level.downsample <= section.mpp]
    number = max(fine, default=0)
    grid = [(x, y) for x in range(0, full.width - side + 1, side) for y in range(0, full.height - side + 1, side)]
    np.random.default_rng(_SEED).shuffle(grid)
    share = _saturated(slide, side, section)
    kept = [corner for corner in grid if share(*corner) >= section.tissue]
    coords = np.array(sorted(kept[: section.patches]), np.int32).reshape(-1, 2)
    mpp = slide.mpp * slide.levels[number].downsample
    return Places(coords, side, mpp, _side(slide, number, section), number, len(kept))


def _side(slide: Slide, level: int, section: SlideLevel) -> int:
    """Whole pixels of a level that a patch is wide."""
    return int(section.mpp / (slide.mpp * slide.levels[level].downsample) * section.size)


def _saturated(slide: Slide, side: int, section: SlideLevel) -> Callable[[int, int], float]:
    """The share of a square at a level-0 corner that is saturated, seen at the coarsest level that shows enough."""
    fine = [n for n in range(len(slide.levels)) if _side(slide, n, section) ** 2 >= _MASK_PIXELS]
    full, level = slide.levels[0], slide.levels[max(fine, default=0)]
    pixels = slide.region(max(fine, default=0), 1, 0, 0, level.width, level.height)
    highest = pixels.max(2).astype(np.float32)
    saturation = np.rint(255 * ((highest - pixels.min(2)) / np.maximum(highest, 1)))  # OpenCV's, for uint8
    across, down = full.width / level.width, full.height / level.height
    mask, columns, rows = saturation > _SATURATION, int(side / across), int(side / down)

    def share(x: int, y: int) -> float:
        left, top = int(x / across), int(y / down)
        square = mask[top : top + rows, left : left + columns]
        return float(square.mean()) if square.size else 0.0

    return share
