"""What a dataset may say of the robustness benchmark that it was made for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Schedule:
    """Training sets in which class and site are ever more correlated, the first one not at all.

    Attributes:
        splits: Images of each site and class in each training set, (S, sites, classes); sites by name, ascending.
        kept: Groups of each site and class that are not held out, (sites, classes).
        validation: An image chooses C for so many that teach.
    """

    splits: NDArray[np.int64]
    kept: NDArray[np.int64]
    validation: int

    @property
    def used(self) -> NDArray[np.bool_]:
        """Whether a site and class takes part, (sites, classes)."""
        used: NDArray[np.bool_] = np.any(self.splits, axis=0)
        return used

    @property
    def sites(self) -> NDArray[np.intp]:
        """Numbers of the sites that take part."""
        return np.flatnonzero(np.any(self.splits, axis=(0, 2)))

    @property
    def classes(self) -> NDArray[np.intp]:
        """Numbers of the classes that take part."""
        return np.flatnonzero(np.any(self.splits, axis=(0, 1)))


@dataclass(frozen=True)
class Benchmark:
    """How a published benchmark measures a dataset whose samples carry a class, a site and a group.

    A dataset that is one has it as its attribute `benchmark`; any other is measured with the values given here.

    Attributes:
        k: Neighbours of the robustness index; None: those that predict the class best.
        home: The split whose sites are in distribution, on which neighbours are looked for; other splits are out of
            distribution. None: all splits are in distribution.
        subsets: Ids of the samples of each part in which neighbours are looked for by themselves; empty: one part, all
            of `home`.
        index_task: Name of the published values of the robustness index.
        margin_task: Name of the published values of the margin.
        schedule: Training sets of the average performance drop; None: the usual ones.
        departures: What differs from how the published values were made, as protocols say it: `rows=all`.
    """

    k: int | None = None
    home: str | None = None
    subsets: Sequence[Sequence[str]] = field(default=(), repr=False)
    index_task: str = ""
    margin_task: str = ""
    departures: Sequence[str] = ()
    schedule: Schedule | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Registered:
    """Slides of the same tissue, tile by tile; a dataset of such has it as its attribute `registered`.

    The id of a sample is the name of its slide, a stroke, and the place of the tile: `GIV_AT2/16_3_7`.

    Attributes:
        slides: Stain and scanner of each slide, by its name.
    """

    slides: Mapping[str, tuple[str, str]]
