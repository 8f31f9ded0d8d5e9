"""Values of samples, held to what regression asks of them: plugins may give anything."""

from typing import Any

import numpy as np

from eva_core.contracts.dataset import Dataset
from eva_core.errors import UsageError


def refuse_wrong_values(dataset: Dataset) -> None:
    """Refuse values that are no finite numbers, or not as many as the card names.

    Raises:
        UsageError: Names the first sample.
    """
    names = dataset.card.classes
    shape = (len(names),) if names else ()
    for sample in dataset.samples:
        if sample.target is None:
            continue
        values = _numbers(sample.target)
        if values is None or (values.shape != shape and not (values.shape == () and len(names) == 1)):
            what = f"{len(names)} numbers, as the card names them" if names else "one number"
            raise UsageError(f"Expected {what} as the value of {sample.id!r}, but got {sample.target!r:.80}.")
        if not np.isfinite(values).all():
            named = f"{names[int(np.flatnonzero(~np.isfinite(values))[0])]} of " if shape else ""
            raise UsageError(f"Expected finite values, but {named}{sample.id!r} is none. Remove it, or mend its file.")


def _numbers(target: Any) -> np.ndarray | None:
    try:
        return np.asarray(target, np.float64)
    except (TypeError, ValueError):
        return None
