"""The choice of the patch that is read next: slide first, then magnification, then a place in tissue. Reads no slide.

Sample n depends on the seed and n alone (Philox, a counter-based generator: Salmon et al. 2011), so any worker can draw
it. A place is uniform over all where enough of the patch is tissue: a pixel of tissue is drawn, then a patch round it,
which finds a patch in proportion to its share of tissue, and that is undone by keeping it with a chance of
least share / share. After 64 failures every place is looked at once, so that no slide is searched for ever.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eva_core.errors import EvaError
from eva_core.progress import say
from eva_vision.slides.sampling import COARSER, Described, Sampling, choose, weigh
from eva_vision.slides.tissue_mask import TissueMask

__all__ = ["Place", "Sampler", "Sampling", "Window"]

_TRIES = 64
_ROUNDING = 1e-9  # of a share: all of a patch can be 1 - 1e-16
_SLIDES = 1000  # that are drawn for one sample before we give up


@dataclass(frozen=True, slots=True)
class Window:
    """A region of a slide, and the patches that are cut from it.

    Attributes:
        slide: Its number among the slides.
        x: Level-0 column of the corner.
        y: Level-0 row of the corner.
        size: Side in pixels at this mpp.
        mpp: Micrometres per pixel.
        corners: Corners of the patches, (x, y) in pixels of the region.
        patch: Side of a patch in pixels.
    """

    slide: int
    x: int
    y: int
    size: int
    mpp: float
    corners: tuple[tuple[int, int], ...]
    patch: int


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a patch: number of the slide, level-0 corner, side in pixels, micrometres per pixel."""

    slide: int
    x: int
    y: int
    size: int
    mpp: float


class Sampler:
    """Samples by number.

    Attributes:
        slide_numbers: Numbers of the slides that are sampled.
    """

    def __init__(
        self, slides: Sequence[Described], mask: Callable[[int], TissueMask], sampling: Sampling, seed: int = 0
    ) -> None:
        """Choose the slides; tells what is left out.

        Args:
            slides: All that there are.
            mask: The tissue of the slide of a number; best with a memory of its own.
            sampling: How patches are sampled.
            seed: Decides everything else.

        Raises:
            UsageError: A file does not read, or no slide is left.
        """
        self.sampling, self.seed = sampling, seed
        self._slides, self._mask = slides, mask
        self._finest = [slide.mpp / COARSER for slide in slides]
        self.slide_numbers = np.array(choose(slides, sampling, seed), np.int64)
        weights = weigh([slides[n] for n in self.slide_numbers], sampling)
        self._cumulative = np.cumsum(weights) / np.sum(weights)
        self._mpp = np.array(sampling.mpp)
        self._mpp_weights = np.array(sampling.mpp_weights or [1.0] * len(sampling.mpp))
        self._reported: set[int] = set()

    def place(self, n: int, attempt: int = 0) -> Place:
        """Find where sample n is. Another attempt gives another place, for when the first cannot be used."""
        if self.sampling.distinct is not None:
            n %= self.sampling.distinct
        window = self.window(n // self.sampling.per_window, attempt)
        across, down = window.corners[n % self.sampling.per_window]
        scale = window.mpp / self._slides[window.slide].mpp
        x, y = window.x + round(across * scale), window.y + round(down * scale)
        return Place(window.slide, x, y, window.patch, window.mpp)

    def window(self, number: int, attempt: int = 0) -> Window:
        """The region that samples number * per_window and those after it are cut from.

        Raises:
            EvaError: A thousand slides in a row have no place with enough tissue.
        """
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=np.array([0, 0, attempt, number], np.uint64)))
        for _ in range(_SLIDES):
            drawn = np.searchsorted(self._cumulative, rng.random(), side="right")
            slide = int(self.slide_numbers[min(int(drawn), len(self.slide_numbers) - 1)])
            mpp = self._magnification(slide, rng)
            window = self._window(slide, mpp, rng)
            if window is not None:
                return window
            if slide not in self._reported:
                self._reported.add(slide)
                say(
                    f"{self._slides[slide].name}: no patch of {self.sampling.size} px at {mpp:.3g} micrometres per "
                    f"pixel has {self.sampling.tissue:.0%} tissue; left out where that is so."
                )
        raise EvaError(
            f"Expected slides with places of {self.sampling.tissue:.0%} tissue, but {_SLIDES} in a row have none. "
            "Lower tissue or size in the sampling, or look at the masks with `eva slides show`."
        )

    def _magnification(self, slide: int, rng: np.random.Generator) -> float:
        """Choose a magnification among those that the slide is fine enough for."""
        finest, u = self._finest[slide], rng.random()
        if self.sampling.mpp_range is not None:
            low, high = self.sampling.mpp_range
            low = max(low, finest)
            return float(low * (high / low) ** u)
        weights = np.where(self._mpp >= finest, self._mpp_weights, 0.0).cumsum()
        return float(self._mpp[np.searchsorted(weights, u * weights[-1], side="right")])

    def _window(self, slide: int, mpp: float, rng: np.random.Generator) -> Window | None:
        mask, size, scale = self._mask(slide), self.sampling.size, mpp / self._slides[slide].mpp
        corner = _corner(mask, size * scale, self.sampling.tissue, rng)
        if corner is None or self.sampling.per_window == 1:
            return corner and Window(slide, *corner, size, mpp, ((0, 0),), size)
        extent = (mask.slide_width, mask.slide_height)
        side = max(size, min(self.sampling.window, *(int(length / scale) for length in extent)))
        start, first = [0, 0], [0, 0]
        for axis, (place, length) in enumerate(zip(corner, extent, strict=True)):
            corner_of_window = place - int(rng.integers(side - size + 1)) * scale
            start[axis] = int(min(max(corner_of_window, 0), max(0.0, length - side * scale)))
            first[axis] = min(max(round((place - start[axis]) / scale), 0), side - size)
        corners = [(first[0], first[1])]
        for across, down in rng.integers(side - size + 1, size=(4 * self.sampling.per_window, 2)).tolist():
            x, y = start[0] + across * scale, start[1] + down * scale
            if (
                len(corners) < self.sampling.per_window
                and mask.share(x, y, size * scale) >= self.sampling.tissue - _ROUNDING
            ):
                corners.append((across, down))
        times = -(-self.sampling.per_window // len(corners))  # little tissue in the region: some come twice
        return Window(slide, start[0], start[1], side, mpp, tuple((corners * times)[: self.sampling.per_window]), size)


def _corner(mask: TissueMask, side: float, least: float, rng: np.random.Generator) -> tuple[int, int] | None:
    """A corner in level-0 pixels, uniform over squares in the slide with enough tissue; None: there is none."""
    across, down = mask.slide_width - side, mask.slide_height - side
    tissue = int(mask.row_sums[-1])
    if across < 0 or down < 0 or not tissue:
        return None
    for _ in range(_TRIES):
        u = rng.random(6)
        row, column = mask.nth(int(u[0] * tissue))
        x = math.floor((column + u[1]) * mask.slide_width / mask.width - u[2] * side)
        y = math.floor((row + u[3]) * mask.slide_height / mask.height - u[4] * side)
        if 0 <= x <= across and 0 <= y <= down:
            share = mask.share(x, y, side)
            if share >= least - _ROUNDING and u[5] * share < least:
                return x, y
    rows, columns = np.nonzero(mask.shares(side) >= least - _ROUNDING)
    if not len(rows):
        return None
    k = int(rng.integers(len(rows)))
    x = round(columns[k] * mask.slide_width / mask.width)
    y = round(rows[k] * mask.slide_height / mask.height)
    return min(x, int(across)), min(y, int(down))
