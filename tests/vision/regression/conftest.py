from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eva_core.results.record import PREDICTIONS, write_results
from eva_vision.regression.predictions import Values, values_table


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write values to a finished result and give its folder."""

    def write(part: Values, content: dict[str, Any] | None = None) -> Path:
        pq.write_table(values_table([part], range(len(part.predicted))), tmp_path / PREDICTIONS)
        write_results(tmp_path, content or {"task": "slide_regression"}, [PREDICTIONS])
        return tmp_path

    return write


def made_up(runs: int = 3, noise: float = 1.0, outputs: int = 1, seed: int = 0, n: int = 60) -> Values:
    """Values with noise of as many outputs, two samples a patient."""
    rng = np.random.default_rng(0)
    shape = (n,) if outputs == 1 else (n, outputs)
    targets = rng.normal(size=shape)
    predicted = targets + noise * np.random.default_rng(seed + 1).normal(size=(runs, *shape))
    labels = ("age",) if outputs == 1 else [f"gene {g}" for g in range(outputs)]
    return Values("test", [f"s{i}" for i in range(n)], [f"p{i // 2}" for i in range(n)], targets, predicted, labels)
