"""How strong a change is on what is read: by how many grey levels it moves pixels."""

from collections.abc import Iterable, Sequence

import numpy as np

from eva_core.errors import EvaError
from eva_core.progress import Bar
from eva_vision.shifts.contracts import Look, Shift


def pixel_differences(looks: Iterable[Look], shifts: Sequence[Shift], name: str) -> tuple[list[float | None], int]:
    """Mean absolute difference of a channel of a pixel from what it is without the change, in grey levels of 255.

    Args:
        looks: Images or patches, from the kind of task.
        shifts: What is done to them.
        name: What they are of, for people to read.
    Returns:
        A number for each shift, None where an image has other sides then; and how many were looked at.
    """
    sums: list[list[float]] = [[] for _ in shifts]
    read = 0
    with Bar(f"strengths on {name}") as bar:
        for look in looks:
            try:
                image = look(None)
            except (EvaError, OSError):  # the extraction says so, or leaves it out
                continue
            read += 1
            for values, shift in zip(sums, shifts, strict=True):
                values.append(difference(image, look(shift)))
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
