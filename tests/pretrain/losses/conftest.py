"""Reference arrays as tensors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

Arrays = dict[str, Tensor]


def _load(name: str) -> Arrays:
    with np.load(Path(__file__).parents[1] / "parity" / f"{name}_parity.npz") as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files if stored[key].dtype.kind != "U"}


@pytest.fixture(scope="session")
def dino() -> Arrays:
    return _load("dino")


@pytest.fixture(scope="session")
def dinov2() -> Arrays:
    return _load("dinov2")
