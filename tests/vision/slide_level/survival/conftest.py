"""Made-up patients, and finished results of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eva_core.results.record import PREDICTIONS, write_results
from eva_vision.slide_level.survival.predictions import Risks, risks_table
from eva_vision.slide_level.survival.targets import Outcomes


def patients(n: int = 60, seed: int = 0, whole: bool = False, share: float = 0.6) -> tuple[np.ndarray, Outcomes]:
    """Risks (N,) and outcomes that depend on them; times are whole numbers, with ties, where asked for."""
    rng = np.random.default_rng(seed)
    hazard = rng.normal(size=n)
    died, left = rng.exponential(np.exp(-hazard)) * 10, rng.exponential(10 / (1 - share), n)
    times = np.minimum(died, left)
    risks = hazard + rng.normal(size=n)
    if whole:
        times, risks = np.ceil(times), risks.round(0)
    return risks, Outcomes(times, died <= left)


def risks_of(noise: float, runs: int = 2, seed: int = 0, n: int = 80, folds: int = 0) -> Risks:
    """Predictions with noise, two samples a patient; of several folds those of each are of another scale."""
    rng = np.random.default_rng(0)
    hazard = rng.normal(size=n)
    died, left = rng.exponential(np.exp(-hazard)), rng.exponential(3, n)
    risks = hazard + noise * np.random.default_rng(seed + 1).normal(size=(runs, n))
    strata = np.arange(n) // 2 % folds if folds else None
    if strata is not None:
        risks = risks * (1 + strata) + 10 * strata
    groups = [f"p{i // 2}" for i in range(n)]
    ids = [f"s{i}" for i in range(n)]
    return Risks("test", ids, groups, np.minimum(died, left), died <= left, risks, strata)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write risks to a finished result and give its folder."""

    def write(part: Risks, content: dict[str, Any] | None = None) -> Path:
        pq.write_table(risks_table([part], range(len(part.risks))), tmp_path / PREDICTIONS)
        write_results(tmp_path, content or {"task": "slide_survival"}, [PREDICTIONS])
        return tmp_path

    return write


def drawn(n: int, count: int = 12, seed: int = 1) -> np.ndarray:
    """Weights of bootstrap draws, (count, n)."""
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(count)]).astype(float)
