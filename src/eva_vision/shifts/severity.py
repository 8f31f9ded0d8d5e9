"""How strong a change is on the images at hand: by how many grey levels it moves their pixels."""

from collections.abc import Sequence

import numpy as np

from eva_core.contracts.checks import pixels_of
from eva_core.contracts.dataset import Dataset
from eva_core.errors import EvaError
from eva_core.progress import Bar
from eva_vision.shifts.contracts import Shift
from eva_vision.shifts.shifted import mpp_of

LOOKED_AT = 100
"""Images that are measured."""


def pixel_differences(dataset: Dataset, shifts: Sequence[Shift]) -> tuple[list[float | None], int]:
    """Mean absolute difference of a channel of a pixel from the image as it is, in grey levels of 255.

    Args:
        dataset: Images as they are; at most a hundred of them are looked at, evenly spaced.
        shifts: What is done to them.
    Returns:
        A number for each shift, None where the image has other sides then; and how many images were looked at.
    """
    samples = dataset.samples[:: -(-len(dataset.samples) // LOOKED_AT)]
    sums: list[list[float]] = [[] for _ in shifts]
    read = 0
    with Bar(f"strengths on {dataset.card.name}", len(samples), "images") as bar:
        for sample in samples:
            try:
                image = pixels_of(dataset, sample)
            except (EvaError, OSError):  # the extraction says so, or leaves it out
                continue
            read += 1
            for values, shift in zip(sums, shifts, strict=True):
                values.append(difference(image, shift(image, sample.id, mpp_of(dataset, sample))))
            bar.advance(1)
    means = [float(np.mean(values)) if values else np.nan for values in sums]
    return [None if np.isnan(mean) else mean for mean in means], read


def difference(image: np.ndarray, changed: np.ndarray) -> float:
    """Mean absolute difference of two images, uint8 (H, W, 3), in grey levels; NaN where their sides differ.

    Examples:
        >>> difference(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 4, np.uint8))
        4.0
    """
    if image.shape != changed.shape:
        return float("nan")
    return float(np.abs(image.astype(np.int16) - changed).mean())
