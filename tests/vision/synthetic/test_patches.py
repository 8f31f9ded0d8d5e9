"""Synthetic patches: the same pixels everywhere, in the colours of H&E."""

import os
import subprocess
import sys

import numpy as np
import pytest

from eva_vision.datasets.phantom import Phantom
from eva_vision.synthetic.patches import CLASSES, phantom_patch, random_stain


@pytest.fixture(scope="module")
def dataset() -> Phantom:
    return Phantom()


def test_another_process_draws_the_same_bytes(dataset: Phantom) -> None:
    code = (  # not through Phantom, which imports torch: seconds
        "import sys, numpy as np; from eva_vision.synthetic.patches import phantom_patch, random_stain;"
        "r = np.random.default_rng; patch = phantom_patch(2, r((0, 0, 1, 6)), random_stain(r((0, 0, 0, 0))), 64);"
        "sys.stdout.buffer.write(patch.tobytes())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment).stdout
    assert there == Phantom(size=64).image(dataset.samples[6]).tobytes()


@pytest.mark.parametrize("size", [1, 7, 64, 224, 301])
@pytest.mark.parametrize("cls", range(len(CLASSES)))
def test_any_size(cls: int, size: int) -> None:
    rng = np.random.default_rng(3)
    image = phantom_patch(cls, rng, random_stain(rng), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8


def test_colours_are_those_of_haematoxylin_and_eosin(dataset: Phantom) -> None:
    images = np.stack([dataset.image(s) for s in dataset.samples[:240:6]])
    red, green, blue = images.mean(axis=(0, 1, 2))
    assert 170 < red < 220
    assert 105 < green < 165
    assert 150 < blue < 205
    assert (images.mean(axis=(1, 2)).std(axis=0) > 8).all()  # stain varies
