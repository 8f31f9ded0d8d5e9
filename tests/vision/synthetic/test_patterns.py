"""Patterns: the same pixels everywhere, colours that do not depend on the pattern, slides without seams."""

import os
import subprocess
import sys

import numpy as np
import openslide
import pytest
from scipy import ndimage

from eva_core.errors import UsageError
from eva_vision.datasets.phantom_patterns import PhantomPatterns
from eva_vision.synthetic.patches import Stain, random_stain
from eva_vision.synthetic.patterns import CLASSES, pattern_map, pattern_patch, pattern_tissue
from eva_vision.synthetic.slides import write_pattern_slide

STAIN = Stain(np.array([(0.60, 0.72, 0.34), (0.16, 0.86, 0.48)], np.float32), np.full(3, 0.04, np.float32))


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return pattern_tissue(1024, 0)


def test_another_process_draws_the_same_bytes():
    code = (
        "import sys, numpy as np; from eva_vision.synthetic.patterns import pattern_patch;"
        "from eva_vision.synthetic.patches import random_stain; r = np.random.default_rng;"
        "sys.stdout.buffer.write(pattern_patch(2, r((0, 0, 1, 6)), random_stain(r((0, 0, 0, 1))), 64).tobytes())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment).stdout
    dataset = PhantomPatterns(size=64)
    assert there == dataset.image(dataset.samples[6]).tobytes()


@pytest.mark.parametrize("size", [1, 7, 64, 301])
@pytest.mark.parametrize("cls", range(len(CLASSES)))
def test_any_size(cls: int, size: int):
    rng = np.random.default_rng(3)
    image = pattern_patch(cls, rng, random_stain(rng), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8


def test_under_one_stain_no_pattern_has_a_colour_of_its_own():
    """Means and standard deviations of the channels differ between patterns by less than between patches of one."""
    stats = np.array(
        [
            [np.r_[image.mean((0, 1)), image.std((0, 1))] for image in _of_one_stain(cls, 40)]
            for cls in range(len(CLASSES))
        ]
    )
    apart = stats.mean(1).max(0) - stats.mean(1).min(0)
    assert (apart[:3] < stats.std(1).mean(0)[:3]).all()
    assert (apart[3:] < 1.5 * stats.std(1).mean(0)[3:]).all()


def _of_one_stain(cls: int, n: int) -> list[np.ndarray]:
    return [pattern_patch(cls, np.random.default_rng((5, cls, number)), STAIN).astype(float) for number in range(n)]


def test_there_is_tissue_and_glass(tissue: np.ndarray):
    stained = np.ptp(tissue.astype(int), axis=-1) > 15
    assert 0.25 < stained.mean() < 0.75
    assert not stained[:20, :20].any()


def test_regions_pass_into_each_other_without_a_step(tissue: np.ndarray):
    """No row and no column differs much more from the one before than its neighbours do: nothing is pieced together."""
    pixels = tissue[300:724, 300:724].astype(float)
    for axis in (0, 1):
        steps = np.abs(np.diff(pixels, axis=axis)).mean((1 - axis, 2))
        assert (steps[1:-1] < 2 * np.maximum(steps[:-2], steps[2:])).all()


def test_the_map_says_which_pattern_is_where():
    """Lumens of glands and holes of sheets are round and large; stroma and follicles have narrow clefts."""
    side, seed = 1400, 1
    brightness, where = pattern_tissue(side, seed).min(-1).astype(float), pattern_map(side, seed)
    assert where.shape == (side, side)
    tissue = ndimage.binary_erosion(ndimage.uniform_filter(brightness, 25) < 210, iterations=10)
    sizes = {}
    for kind, name in enumerate(CLASSES):
        inside = ndimage.binary_erosion(where == kind, iterations=30) & tissue
        assert inside.sum() > 50_000
        holes, _ = ndimage.label((brightness > 225) & inside)
        sizes[name] = np.bincount(holes.ravel())[1:].mean()
    assert min(sizes["glands"], sizes["sheets"]) > 2 * max(sizes["stroma"], sizes["follicles"])


def test_a_slide_is_that_tissue_at_its_scale(tmp_path):
    path = write_pattern_slide(tmp_path / "a.svs", 512, seed=1)
    with openslide.OpenSlide(path) as slide:
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert slide.level_dimensions == ((512, 512), (128, 128))
        pixels = np.asarray(slide.read_region((0, 0), 0, (512, 512)).convert("RGB"), float)
    assert np.abs(pixels - pattern_tissue(512, 1)).mean() < 6  # what JPEG takes
    with pytest.raises(UsageError, match="levels of at least 1 px"):
        write_pattern_slide(tmp_path / "b.svs", 0)
