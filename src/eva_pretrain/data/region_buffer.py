"""Patches that were cut from a region and wait for the batches that take them."""

from dataclasses import dataclass

import numpy as np

from eva_vision.slides.index import Entry
from eva_vision.slides.reading.read_plan import downsample
from eva_vision.slides.reading.slide import Patch
from eva_vision.slides.sampler import Sampler, Window


@dataclass(slots=True)
class _Cut:
    region: int
    slide: int
    patches: dict[int, Patch]


class Regions:
    """A shuffle buffer: for each place in the batches of a lane, the rest of one region.

    It holds (per_window - 1) / 2 patches for each of 16 x batch_size places on average, over all workers of a rank.
    """

    def __init__(self, sampler: Sampler) -> None:
        """Hold nothing yet."""
        self._sampler = sampler
        self._cuts: dict[tuple[int, int], _Cut] = {}

    def take(self, place: tuple[int, int], number: int) -> tuple[int, Patch] | None:
        """Slide and patch of a sample, once; None where its region is to be read.

        Args:
            place: Lane, and place in the batch.
            number: Number of the sample.
        """
        region, k = self._split(number)
        cut = self._cuts.get(place)
        if cut is None or cut.region != region or k not in cut.patches:
            return None
        return cut.slide, cut.patches.pop(k)

    def window(self, number: int) -> Window:
        """The region of a sample."""
        return self._sampler.window(self._split(number)[0])

    def cut(self, place: tuple[int, int], number: int, window: Window, read: Patch, entry: Entry) -> Patch:
        """Cut the patches of a region that this sample and later ones want; gives this one's.

        Args:
            place: Lane, and place in the batch.
            number: Number of the sample.
            window: Its region.
            read: The region's pixels.
            entry: What is known of the slide.
        """
        region, first = self._split(number)
        scale, size, patches = read.mpp / entry.mpp, window.patch, {}
        for k in range(first, len(window.corners)):
            across, down = window.corners[k]
            pixels = np.ascontiguousarray(read.pixels[down : down + size, across : across + size])
            x, y = read.x + round(across * scale), read.y + round(down * scale)
            inside = _inside(entry, read, across, down, size)
            patches[k] = Patch(pixels, x, y, read.mpp, read.level, read.reduce, inside)
        self._cuts[place] = _Cut(region, window.slide, patches)
        return patches.pop(first)

    def _split(self, number: int) -> tuple[int, int]:
        """Number of the region, and of the patch in it."""
        distinct = self._sampler.sampling.distinct
        return divmod(number if distinct is None else number % distinct, self._sampler.sampling.per_window)


def _inside(entry: Entry, read: Patch, across: int, down: int, size: int) -> float:
    """Share of a patch that lies in the slide, as `plan` has it for one that is read alone.

    Args:
        entry: What is known of the slide.
        read: The region that it was cut from.
        across: Column of its corner, in pixels of the region.
        down: Row of its corner, in pixels of the region.
        size: Its side.
    """
    step = downsample(entry.levels[0], entry.levels[read.level]) * read.reduce
    scale = read.mpp / entry.mpp / step
    share = 1.0
    for start, corner, extent in zip((read.x, read.y), (across, down), entry.levels[read.level], strict=True):
        first = round(start / step) + corner * scale
        share *= max(0.0, min(first + size * scale, extent // read.reduce) - max(first, 0.0)) / (size * scale)
    return round(share, 9)  # all of a patch can be 1 - 1e-16
