"""A little of each public dataset, in its official layout: real names, tiny images, published counts patched away.

The test file of a dataset, `test_NAME.py`, writes it by `tree(root)`; that of a file with several, by
`tree(root, name)`. It may also have `build(root)`, and `COUNTS`: what the tree holds in place of the published counts;
`NUMBERS` and `MD5` likewise. A dataset that draws its images needs none of them.
"""

import csv
import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from PIL import Image

from eva_core import registry
from eva_core.contracts.dataset import Dataset
from tests.conftest import picture

FEW = {"phantom_slides": {"patients": 10, "side": 256}}
"""Arguments of datasets that draw too much by default."""
NAMES = [entry.name for entry in registry.datasets.entries() if entry.package == "eva-pathology"]


@cache
def module_of(name: str) -> ModuleType | None:
    """The test file of a dataset, or of the file that it is in; None where it has none that writes a tree."""
    for stem in (name, _file_of(name)):
        if (Path(__file__).parent / f"test_{stem}.py").is_file():
            found = importlib.import_module(f"tests.vision.datasets.test_{stem}")
            return found if hasattr(found, "tree") else None
    return None


def of_test_file(stem: str) -> list[str]:
    """The dataset that a test file is named by; or those of the source file that it is named by."""
    return [stem] if stem in NAMES else [name for name in NAMES if _file_of(name) == stem]


def _file_of(name: str) -> str:
    return registry.datasets.find(name).class_path.split(".")[-2]


def tree_of(name: str) -> Callable[[Path], Path]:
    """What writes the files of a dataset; a test file of several takes the name too."""
    found = module_of(name)
    assert found is not None, f"tests/vision/datasets/test_{name}.py has no tree(root)"
    return found.tree if found.__name__.endswith(f"test_{name}") else partial(found.tree, name=name)


def with_tree() -> list[str]:
    """The datasets that are read from files."""
    return [name for name in NAMES if module_of(name) is not None]


def write(name: str, root: Path) -> Path:
    """Write the files of a dataset; its root."""
    return tree_of(name)(root)


def build(name: str, root: Path) -> Dataset:
    """A dataset from the root of its tree."""
    make = getattr(module_of(name), "build", registry.datasets.load(name))
    return make(str(root))


def small(name: str, root: Path) -> Dataset:
    """A little of a dataset, whole and as published but for its counts; one that is drawn as it is by default."""
    found = module_of(name)
    if found is None:
        return registry.datasets.load(name)(**FEW.get(name, {}))
    with pytest.MonkeyPatch.context() as patch:
        patch_counts(patch, name, found)
        return build(name, tree_of(name)(root))


def patch_counts(patch: pytest.MonkeyPatch, name: str, test: ModuleType) -> None:
    """Let the counts of a tree stand for the published ones, and its last numbers and checksum."""
    for published in ("counts", "thunder_counts", "numbers", "md5"):
        if hasattr(test, published.upper()):
            patch.setattr(registry.datasets.load(name), published, getattr(test, published.upper()))


def write_images(root: Path, paths: Sequence[str]) -> Path:
    """8 x 8 images, each with colours of its own."""
    for i, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i, size=8)).save(root / path)
    return root


def write_slide(file: Path, seed: int, tint: Sequence[int], mpp: float, side: int = 256) -> Path:
    """A square of coloured noise, which is tissue: a tiled TIFF whose tags state micrometres per pixel."""
    noise = np.random.default_rng(seed).normal(0, 12, (side, side, 3))
    pixels = np.clip(np.array(tint) + noise, 0, 255).astype(np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    resolution = (1e4 / mpp, 1e4 / mpp)
    tifffile.imwrite(file, pixels, tile=(128, 128), photometric="rgb", resolution=resolution, resolutionunit=3)
    return file


def write_table(file: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return file


def labels(seed: int, values: Sequence[int], size: int = 8) -> np.ndarray:
    """Each of the values in stripes, shifted by the seed: uint8 (size, size)."""
    return np.array(values, np.uint8)[(np.arange(size * size).reshape(size, size) + seed) % len(values)]


def write_labels(file: Path, values: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)
    return file
