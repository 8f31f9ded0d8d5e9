"""Shared fixtures: a cache of its own for every test, tiny images, a tiny dataset, and the real data where they are.

EVA_TEST_START_METHOD=forkserver (or spawn, fork) runs the suite under a start method that is not this Python's default.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

from eva_core.accelerator import gpus
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from tests.hub import Hub, running

REAL = Path(os.environ.get("EVA_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

if method := os.environ.get("EVA_TEST_START_METHOD"):
    multiprocessing.set_start_method(method, force=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, and say so."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not gpus():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty embedding cache, and a working folder of the test's own."""
    root = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EVA_CACHE", str(root))
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """`../shared/data`, or EVA_TEST_DATA; skips where missing, unless EVA_REQUIRE_REAL_DATA=1."""
    if not REAL.is_dir():
        if os.environ.get("EVA_REQUIRE_REAL_DATA") == "1":
            pytest.fail(f"EVA_REQUIRE_REAL_DATA=1, but {REAL} does not exist")
        pytest.skip(f"no real data at {REAL}; set EVA_TEST_DATA")
    return REAL


def picture(seed: int, tint: Sequence[int] = (200, 120, 180), size: int = 32) -> np.ndarray:
    """Noise round a colour: uint8 (size, size, 3)."""
    noise = np.random.default_rng(seed).normal(0, 25, (size, size, 3))
    return np.clip(np.array(tint) + noise, 0, 255).astype(np.uint8)


def write_tree(root: Path, per_class: dict[str, int] | None = None) -> Path:
    """A folder dataset `split/class/NN.png` of two tinted classes."""
    tints = {"pink": (220, 150, 180), "purple": (190, 150, 200)}
    for s, (split, n) in enumerate((per_class or {"train": 12, "val": 6, "test": 8}).items()):
        for c, (name, tint) in enumerate(tints.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(picture(1000 * s + 100 * c + i, tint)).save(folder / f"{i:02d}.png")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The root of a fresh tree of 52 images that a test may damage."""
    return write_tree(tmp_path / "tree")


class Pictures(Dataset):
    """In-memory images, with patients: 3 images each."""

    def __init__(self, n: int = 30, splits: Sequence[str] = ("train", "train", "train", "val", "test")) -> None:
        self.card = DatasetCard(name="pictures", classes=("a", "b"), synthetic=True)
        self.samples = [
            Sample(f"s{i:03d}", splits[i // 3 % len(splits)], i % 2, bytes=i, group=f"p{i // 3}") for i in range(n)
        ]

    def image(self, sample: Sample) -> np.ndarray:
        return picture(sample.bytes, (210, 130, 170) if sample.target else (180, 130, 200))


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of this test's own, empty, with an empty cache and no token."""
    with running() as server:
        for name, value in {
            "ENDPOINT": server.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_TOKEN_PATH": str(tmp_path / "no_token"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,  # another protocol, to another host
        }.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield server


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> Callable[[], None]:
    """A function after which nothing answers, and nobody waits between attempts."""

    def cut() -> None:
        hub.files.clear()
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    return cut
