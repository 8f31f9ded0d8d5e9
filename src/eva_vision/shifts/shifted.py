"""A dataset whose pixels are changed as they are read: everything after, the model's own transform too, sees those."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from typing_extensions import override

from eva_core.contracts.checks import pixels_of
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import UsageError
from eva_core.identity import canonical, digest
from eva_core.store.reuse import teller
from eva_vision.shifts.contracts import Shift


def only_split(dataset: Dataset, split: str) -> Dataset:
    """The same dataset with the samples of one split alone: its embeddings are taken from the store of the whole.

    Raises:
        UsageError: It has none, or some without a label.
    """
    part = copy.copy(dataset)
    part.samples = [sample for sample in dataset.samples if sample.split == split]
    if not part.samples:
        there = ", ".join(sorted({sample.split for sample in dataset.samples}))
        raise UsageError(f"Expected images of split {split!r}, which the result reports, but there is {there}.")
    unlabelled = [sample.id for sample in part.samples if sample.target is None]
    if unlabelled:
        raise UsageError(f"Expected a label for each image of {split}, but {unlabelled[0]!r} has none.")
    return part


def mpp_of(dataset: Dataset, sample: Sample) -> float | None:
    """Micrometres per pixel of an image; None where it is not known."""
    return sample.mpp or dataset.card.mpp


class Shifted(Dataset):
    """A dataset under a shift.

    Args:
        dataset: The images as they are.
        shift: What is done to each.
    """

    def __init__(self, dataset: Dataset, shift: Shift) -> None:
        self.dataset, self.shift = dataset, shift
        self.card = dataset.card
        self.samples: Sequence[Sample] = dataset.samples

    @override
    def image(self, sample: Sample) -> np.ndarray:
        """The changed pixels of a sample: uint8 RGB, (H, W, 3)."""
        return self.shift(pixels_of(self.dataset, sample), sample.id, mpp_of(self.dataset, sample))

    @override
    def files(self, sample: Sample) -> Sequence[Path]:
        return self.dataset.files(sample)

    @override
    def hashes(self) -> Mapping[Path, str]:
        return self.dataset.hashes()

    @override
    def pixels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """What decides the pixels as they are, and the change with its strength."""
        by = teller(self.dataset, "pixels", ("image",))
        text = None if by is None else self.dataset.pixels(sample, hashes)
        if text is None:
            return None
        return canonical([by, text, self.shift.about(sample.id, mpp_of(self.dataset, sample))])

    @override
    def fingerprint(self) -> str:
        """SHA-256 of the fingerprint as they are, and of the change with its strength."""
        return digest([self.dataset.fingerprint(), self.shift.identity])
