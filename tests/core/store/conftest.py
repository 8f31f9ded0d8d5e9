"""Rows of a store, and the key of one in an empty cache."""

import numpy as np
import pytest

from eva_core.store.store import StoreKey


def batch(first: int, n: int, dim: int = 4) -> dict[str, np.ndarray]:
    rows = np.arange(first, first + n, dtype=np.float32)
    return {
        "embeddings": np.repeat(rows[:, None], dim, 1),
        "colour_stats": np.zeros((n, 6), np.float32),
        "signature": np.zeros((n, 64), np.float32),
        "short_side": np.full(n, 32),
        "readable": np.ones(n, bool),
    }


@pytest.fixture
def key(cache) -> StoreKey:
    (cache / "pictures").mkdir()
    return StoreKey("m", "pictures", {"a": 1})
