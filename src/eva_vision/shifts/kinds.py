"""Kinds of task whose decisions can be held against each other: what is read, what is changed, what heads decide."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from eva_core.classification.evaluation import predicted
from eva_core.classification.predictions import Predictions
from eva_core.contracts.checks import pixels_of
from eva_core.contracts.dataset import Dataset
from eva_core.errors import UsageError
from eva_core.job import Job
from eva_core.task import Heads, task_named
from eva_vision.shifts.contracts import Look, Shift
from eva_vision.shifts.shifted import Shifted, mpp_of
from eva_vision.shifts.shifted_slides import looks_at_patches, shifted_slides
from eva_vision.slide_level.contracts import SlideDataset
from eva_vision.slide_level.evaluation import repeated, said_by
from eva_vision.slide_level.task import SlideTask

LOOKED_AT = 100
"""Images that are measured."""


@dataclass(frozen=True)
class Kind:
    """A kind of task, as a study of shifts needs it.

    Attributes:
        unit: What is decided, for people to read.
        looked_at: What the strength of a change is measured on.
        knows_mpp: Whether the micrometres per pixel of all that is read are known.
        shifted: The dataset under a shift; the flag says whether the patches of slides are laid out anew.
        predictions: What finished heads say of the reported split: (job, store, split, heads).
        looks: Some images or patches of the dataset of a job, evenly spread.
    """

    unit: str
    looked_at: str
    knows_mpp: Callable[[Dataset], bool]
    shifted: Callable[[Dataset, Shift, bool], Dataset]
    predictions: Callable[[Job, Any, str, Heads], Predictions]
    looks: Callable[[Job], Iterator[Look]]


def _predictions_of_images(job: Job, store: Any, split: str, heads: Heads) -> Predictions:
    return predicted(job, store, split, [dict(params) for params in heads.values()])


def _looks_at_images(job: Job) -> Iterator[Look]:
    dataset = job.dataset
    for sample in dataset.samples[:: -(-len(dataset.samples) // LOOKED_AT)]:
        yield partial(_image, cache(partial(pixels_of, dataset, sample)), sample.id, mpp_of(dataset, sample))


def _image(pixels: Callable[[], np.ndarray], sample_id: str, mpp: float | None, shift: Shift | None) -> np.ndarray:
    return pixels() if shift is None else shift(pixels(), sample_id, mpp)


def _predictions_of_slides(job: Job, store: Any, split: str, heads: Heads) -> Predictions:
    """Those of each fold's own heads where the result was cross-validated."""
    task, card = task_named(job.dataset.card.task), job.dataset.card
    assert isinstance(task, SlideTask)
    assert isinstance(job.dataset, SlideDataset)
    scoring = task.scoring()
    if split == "cv":
        said = repeated(job, store, scoring, heads)
    else:
        said = said_by(job, store, heads, scoring.targets(store.targets, job.dataset, card))
    found: Predictions = next(scoring.predictions(part, card) for part in said if part.split == split)
    return found


def _slides(dataset: Dataset) -> SlideDataset:
    assert isinstance(dataset, SlideDataset)
    return dataset


KINDS: Mapping[str, Kind] = {
    "classification": Kind(
        unit="images",
        looked_at="images",
        knows_mpp=lambda dataset: all(mpp_of(dataset, sample) is not None for sample in dataset.samples),
        shifted=lambda dataset, shift, _: Shifted(dataset, shift),
        predictions=_predictions_of_images,
        looks=_looks_at_images,
    ),
    "slide_classification": Kind(
        unit="slides",
        looked_at="patches",
        knows_mpp=lambda _: True,
        shifted=lambda dataset, shift, grid: shifted_slides(_slides(dataset), shift, grid),
        predictions=_predictions_of_slides,
        looks=looks_at_patches,
    ),
}


def kind_of(task: str, what: str) -> Kind:
    """The kind of a task.

    Args:
        task: Its name.
        what: What is of that task, for the message.
    Raises:
        UsageError: Its decisions cannot be held against each other.
    """
    if task not in KINDS:
        raise UsageError(
            f"Expected results of {' or '.join(KINDS)}, but {what} is of {task}, whose decisions eva does not hold "
            "against each other yet."
        )
    return KINDS[task]
