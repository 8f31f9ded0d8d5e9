"""Buffer of patches that were cut from a region and wait for later batches."""

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


class RegionBuffer:
    """Shuffle buffer: for each place in the batches of a lane, the remaining patches of one region.

    Over all workers of a rank, it holds (per_window - 1) / 2 patches on average for each of 16 x batch_size places.
    """

    def __init__(self, sampler: Sampler) -> None:
        """Create an empty buffer for the patches of a sampler."""
        self._sampler = sampler
        self._cuts: dict[tuple[int, int], _Cut] = {}

    def take(self, place: tuple[int, int], number: int) -> tuple[int, Patch] | None:
        """Take the patch of a sample out of the buffer, with its slide; None where its region has to be read.

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
        """Region of a sample."""
        return self._sampler.window(self._split(number)[0])

    def cut(self, place: tuple[int, int], number: int, window: Window, read: Patch, entry: Entry) -> Patch:
        """Cut a region into the patches of this sample and later ones; return the patch of this sample.

        Args:
            place: Lane, and place in the batch.
            number: Number of the sample.
            window: Region of the sample.
            read: Pixels of the region.
            entry: The slide in its index.
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
        """Number of the region of a sample, and of the patch in the region."""
        distinct = self._sampler.sampling.distinct
        return divmod(number if distinct is None else number % distinct, self._sampler.sampling.per_window)


def _inside(entry: Entry, read: Patch, across: int, down: int, size: int) -> float:
    """Share of a patch that lies in the slide, as for a patch that is read alone.

    Args:
        entry: The slide in its index.
        read: Region that the patch was cut from.
        across: Column of its corner, in pixels of the region.
        down: Row of its corner, in pixels of the region.
        size: Side of the patch in pixels.
    """
    step = downsample(entry.levels[0], entry.levels[read.level]) * read.reduce
    scale = read.mpp / entry.mpp / step
    share = 1.0
    for start, corner, extent in zip((read.x, read.y), (across, down), entry.levels[read.level], strict=True):
        first = round(start / step) + corner * scale
        share *= max(0.0, min(first + size * scale, extent // read.reduce) - max(first, 0.0)) / (size * scale)
    return round(share, 9)  # a whole patch can sum to 1 - 1e-16
