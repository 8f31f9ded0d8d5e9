"""Patches of slides, decoded once for every model that wants them, in the loader's workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from typing_extensions import override

from eva_core.errors import EvaError
from eva_vision.slide_level.bags.places import Places, choose_places, refuse_coarse
from eva_vision.slide_level.contracts import SlideFile
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.changed_slides import head_hash, state_of
from eva_vision.slides.index import Index
from eva_vision.slides.reading.open import open_as_stated
from eva_vision.slides.reading.shifted import ShiftedSlide, SlideShift
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.tissue_detection import tissue_mask
from eva_vision.slides.tissue_mask import TissueMask


@dataclass(frozen=True)
class Wanted:
    """A slide, and what is missing of its bags.

    Attributes:
        file: The slide.
        identity: What tells it from others.
        models: Numbers of the models that want it.
        known: By model, numbers of the patches that parts on disk have, ascending.
    """

    file: SlideFile
    identity: str
    models: tuple[int, ...]
    known: Mapping[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Begin:
    """A slide is open: its patches, and facts on it."""

    slide: int
    places: Places
    facts: dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Some patches of a slide: their numbers (b,), and by model uint8 (b, 3, S, S)."""

    slide: int
    rows: np.ndarray
    images: dict[int, Tensor]


@dataclass(frozen=True)
class End:
    """A slide is read; `error` says why it could not be, in a line."""

    slide: int
    error: str = ""


class BagPatches(IterableDataset[Begin | Batch | End]):
    """The patches of many slides, batch by batch; a batch depends on its slide alone."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        section: SlideLevel,
        transforms: Sequence[Callable[[np.ndarray], Tensor]],
        batch_size: int,
        index: Index | None,
        shift: SlideShift | None = None,
    ) -> None:
        """Keep what is asked for.

        Args:
            wanted: The slides.
            section: How patches are laid out.
            transforms: By model, turns uint8 (H, W, 3) into uint8 (3, S, S).
            batch_size: Patches in a batch.
            index: An index that has all of the slides; None: each is looked at.
            shift: A change of acquisition; None: slides are read as they are.
        """
        self.wanted, self.section, self.transforms = wanted, section, transforms
        self.batch_size, self.index, self.shift = batch_size, index, shift

    @override
    def __iter__(self) -> Iterator[Begin | Batch | End]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number in range(first, len(self.wanted), step):
            try:
                yield from self._slide(number)
                yield End(number)
            except (EvaError, OSError) as error:
                yield End(number, " ".join(str(error).split()))

    def _slide(self, number: int) -> Iterator[Begin | Batch]:
        wanted = self.wanted[number]
        state = state_of(wanted.file.path)
        with self._open(wanted.file) as as_it_is:
            refuse_coarse(as_it_is, self.section)
            slide = as_it_is if self.shift is None else ShiftedSlide(as_it_is, self.shift)
            looked_at = slide if self.shift is None or self.shift.moves_grid else as_it_is
            mask = self._mask(looked_at)
            places = choose_places(looked_at, mask, self.section, head_hash(wanted.file.path, state.bytes))
            full = slide.levels[0]
            facts = {"slide": wanted.file.name, "width": full.width, "height": full.height, "slide_mpp": slide.mpp}
            yield Begin(number, places, facts)
            missing = {model: _missing(len(places.coords), wanted.known.get(model)) for model in wanted.models}
            batches = []
            for start in range(0, len(places.coords), self.batch_size):
                rows = np.arange(start, min(start + self.batch_size, len(places.coords)))
                if models := [model for model in wanted.models if missing[model][rows].any()]:
                    batches.append((rows, models))
            read = places.read(slide, [row for rows, _ in batches for row in rows.tolist()])
            for rows, models in batches:
                yield Batch(number, rows, self._images([next(read) for _ in rows], models))
        if state_of(wanted.file.path) != state:
            raise EvaError(f"Expected {wanted.file.path} to stay as it is, but it was written meanwhile. Run again.")

    def _open(self, file: SlideFile) -> Slide:
        return (
            open_as_stated(file.path, file.mpp) if self.index is None else self.index.open(self.index.number(file.path))
        )

    def _mask(self, slide: Slide) -> TissueMask | None:
        if self.section.reading == "level":  # it has a mask of its own
            return None
        if self.index is None or isinstance(slide, ShiftedSlide):
            return tissue_mask(slide)
        return self.index.mask(self.index.number(slide.path))

    def _images(self, pixels: Sequence[np.ndarray], models: Sequence[int]) -> dict[int, Tensor]:
        return {model: torch.stack([self.transforms[model](image) for image in pixels]) for model in models}


def _missing(n: int, known: np.ndarray | None) -> np.ndarray:
    """Whether each of `n` patches is not yet known, bool (n,)."""
    missing = np.ones(n, bool)
    if known is not None:
        missing[known[known < n]] = False
    return missing
