"""PathoROB's tiny tree with the embeddings of colour in the store, for all tests of this folder."""

from pathlib import Path

import pytest

from eva_vision.datasets.pathorob import PathorobCamelyon
from eva_vision.robustness import probe
from tests.vision.datasets.test_pathorob import COUNTS, tree


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Parquet files in `data` and a cache."""
    root = tmp_path_factory.mktemp("robustness")
    tree(root / "data", "pathorob_camelyon")
    return root


@pytest.fixture
def few_cs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let probes try three values of C."""
    monkeypatch.setattr(probe, "CS", (1e-3, 1e-1, 10.0))


@pytest.fixture
def words(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words of a command line that measures it."""
    monkeypatch.setenv("EVA_CACHE", str(tiny / "cache"))
    monkeypatch.setattr(PathorobCamelyon, "counts", COUNTS)
    data = ["--dataset", "pathorob_camelyon", "--dataset.root", str(tiny / "data"), "--protocol", "strict"]
    return [*data, "--workers", "0", "--device", "cpu"]
