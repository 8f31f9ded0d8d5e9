"""A slide under a change of acquisition: every pixel that is read of it is as that scanner would have it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from typing_extensions import override

from eva_vision.slides.reading.slide import Patch, Region, Slide

Scope = Literal["regions", "patches", "mpp"]


@dataclass(frozen=True)
class SlideShift:
    """What is changed as a slide is read.

    Attributes:
        change: Changes pixels: uint8 (H, W, 3), where they are on the slide, and their micrometres per pixel, to uint8
            (H, W, 3).
        scope: `regions`: all that is decoded, so that thumbnails show it, too; `patches`: what a model is given, as
            patches are turned where they are; `mpp`: no pixel, but the micrometres per pixel that the file states.
        identity: All that decides what it does to a given slide, as JSON holds it.
        grid: Whether tissue is looked for, and patches are laid out, on the slide as it is changed.
        stretch: How many times as long a pixel is as stated, under `mpp`.
    """

    change: Callable[[np.ndarray, str, float], np.ndarray]
    scope: Scope
    identity: Mapping[str, Any]
    grid: bool
    stretch: float = 1.0

    @property
    def moves_grid(self) -> bool:
        """Whether the patches of a slide may lie elsewhere."""
        return self.scope == "mpp" or (self.grid and self.scope == "regions")

    @property
    def key(self) -> dict[str, Any]:
        """What a bag depends on because of it, as JSON holds it."""
        return {**self.identity, "moves_grid": self.moves_grid}


class ShiftedSlide(Slide):
    """A slide as a `SlideShift` has it; closing it closes the slide."""

    def __init__(self, slide: Slide, shift: SlideShift) -> None:
        """Stand before an open slide.

        Args:
            slide: The slide as it is.
            shift: What is changed.
        """
        super().__init__(slide.path, slide.mpp / shift.stretch, slide.vendor, slide.levels, slide.reduces)
        self.sources, self.reader = slide.sources, slide.reader
        self._slide, self._shift = slide, shift

    @property
    @override
    def memory(self) -> int:
        return self._slide.memory

    @override
    def region(self, level: int, reduce: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        pixels = self._slide.region(level, reduce, left, top, width, height)
        return self._changed(pixels, (level, reduce, left, top, width, height), "regions")

    @override
    def regions(self, wanted: Sequence[Region]) -> Iterator[np.ndarray]:
        for where, pixels in zip(wanted, self._slide.regions(wanted), strict=True):
            yield self._changed(pixels, where, self._shift.scope)

    @override
    def read_patch(self, x: int, y: int, size: int, mpp: float) -> Patch:
        return next(self.read_each([(x, y, size, mpp)]))

    @override
    def read_each(self, places: Sequence[tuple[int, int, int, float]]) -> Iterator[Patch]:
        if self._shift.scope != "patches":
            yield from super().read_each(places)
            return
        for (x, y, size, mpp), patch in zip(places, self._slide.read_each(places), strict=True):
            yield replace(patch, pixels=self._shift.change(patch.pixels, f"{x} {y} {size}", mpp))

    @override
    def close(self) -> None:
        self._slide.close()

    def _changed(self, pixels: np.ndarray, where: Region, scope: Scope) -> np.ndarray:
        if scope == "mpp" or scope != self._shift.scope:
            return pixels
        level, reduce = where[:2]
        mpp = self.mpp * self.levels[level].downsample * reduce
        return self._shift.change(pixels, " ".join(map(str, where)), mpp)
