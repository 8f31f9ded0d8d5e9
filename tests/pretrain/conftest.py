"""Three tiny phantom slides and their index; a copy of them that a test may damage; a folder of tiny patches."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.index import Index
from eva_vision.synthetic.slides import write_phantom_slide


def make_index(root: Path) -> Index:
    """Of the slides in a folder, in it."""
    return build([str(path) for path in sorted(root.glob("*.svs"))], root / "index", "hsv", None, in_this_process)


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `a.svs`, `b.svs` and `c.svs`, 1024 x 768 px at 0.25 micrometres per pixel."""
    root = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate("abc"):
        write_phantom_slide(root / f"{name}.svs", 1024, 768, seed=seed, levels=2)
    return root


@pytest.fixture(scope="session")
def index(slides: Path) -> Index:
    return make_index(slides)


@pytest.fixture
def fragile(slides: Path, tmp_path: Path) -> Index:
    """An index of a copy of the slides."""
    for path in slides.glob("*.svs"):
        shutil.copy(path, tmp_path)
    return make_index(tmp_path)


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 images of noise, 40 px."""
    folder = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(0)
    for n in range(24):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{n}.png")
    return folder
