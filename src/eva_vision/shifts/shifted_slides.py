"""Slides under a shift: the reader changes what it reads, so that tissue and the grid of patches can move, too."""

import copy
from collections.abc import Iterator
from functools import partial

import numpy as np

from eva_core.errors import EvaError
from eva_core.job import Job
from eva_vision.shifts.contracts import Look, Shift
from eva_vision.slide_level.bags.places import Places, choose_places
from eva_vision.slide_level.contracts import SlideDataset
from eva_vision.slides.changed_slides import head_hash, state_of
from eva_vision.slides.reading.open import open_as_stated
from eva_vision.slides.reading.shifted import ShiftedSlide, SlideShift
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.tissue_detection import tissue_mask

SLIDES, PATCHES = 20, 5
"""Slides that are looked at to measure a change, and patches of each."""


def shifted_slides(dataset: SlideDataset, shift: Shift, grid: bool) -> SlideDataset:
    """The same slides under a shift.

    Args:
        dataset: The slides as they are.
        shift: What is done to them.
        grid: Whether tissue is looked for, and patches are laid out, on the slides as they are changed.
    """
    changed = copy.copy(dataset)
    changed.shift = slide_shift(shift, grid)
    return changed


def slide_shift(shift: Shift, grid: bool) -> SlideShift:
    """A shift as the reader of slides makes it; an error of the stated mpp changes no pixel there."""
    scope = shift.card.on_slides
    stretch = 1.0 + shift.strength if scope == "mpp" and isinstance(shift.strength, float) else 1.0
    return SlideShift(shift, scope, shift.identity, grid, stretch)


def looks_at_patches(job: Job) -> Iterator[Look]:
    """Some patches of some slides of a job, evenly spread; a slide that does not read is left to the extraction."""
    dataset, section = job.dataset, job.resolved.section
    assert isinstance(dataset, SlideDataset)
    files = [*dict.fromkeys(file for sample in dataset.samples for file in dataset.slides(sample))]
    for file in files[:: -(-len(files) // SLIDES)]:
        try:
            slide = open_as_stated(file.path, file.mpp)
        except (EvaError, OSError):
            continue
        with slide:
            mask = None if section.reading == "level" else tissue_mask(slide)
            places = choose_places(slide, mask, section, head_hash(file.path, state_of(file.path).bytes))
            n = len(places.coords)
            for number in np.linspace(0, n - 1, min(n, PATCHES)).round().astype(int).tolist():
                yield partial(_patch, slide, places, number)


def _patch(slide: Slide, places: Places, number: int, shift: Shift | None) -> np.ndarray:
    seen = slide if shift is None else ShiftedSlide(slide, slide_shift(shift, grid=False))
    return next(places.read(seen, [number]))
