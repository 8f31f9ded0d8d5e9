"""Synthetic nuclei: types that differ, each with its mask and number, the same pixels everywhere."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from eva_vision.datasets.phantom_nuclei import PhantomNuclei
from eva_vision.synthetic.nuclei import CLASSES, phantom_nuclei
from eva_vision.synthetic.patches import random_stain

Patch = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def dataset() -> PhantomNuclei:
    return PhantomNuclei()


@pytest.fixture(scope="module")
def patches(dataset: PhantomNuclei) -> list[Patch]:
    """One of each of ten patients."""
    return [(dataset.image(s), dataset.mask(s), dataset.instances(s)) for s in dataset.samples[:40:4]]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 301])
def test_any_size(size: int):
    rng = np.random.default_rng(3)
    image, mask, instances = phantom_nuclei(rng, random_stain(rng), size)
    assert image.shape == (size, size, 3)
    assert mask.shape == instances.shape == (size, size)
    assert (image.dtype, mask.dtype, instances.dtype) == (np.uint8, np.uint8, np.int32)


def test_an_instance_is_of_one_class_and_numbers_have_no_gaps(patches: list[Patch]):
    for _, mask, instances in patches:
        np.testing.assert_array_equal(instances > 0, mask > 0)
        assert np.unique(instances).tolist() == [*range(instances.max() + 1)]
        assert len(np.unique(instances * len(CLASSES) + mask)) == instances.max() + 1


def test_there_is_enough_of_every_type_and_nuclei_touch(patches: list[Patch]):
    shares = np.mean([[(mask == k).mean() for k in range(len(CLASSES))] for _, mask, _ in patches], axis=0)
    assert 0.55 < shares[0] < 0.85
    assert (shares[1:] > 0.03).all()
    assert sum(label(instances > 0)[1] < instances.max() for _, _, instances in patches) > len(patches) / 2


def whole(patches: list[Patch], cls: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Green level and place of the pixels (n,), (n, 2) of every nucleus of a class that the border does not cut."""
    found = []
    for image, mask, instances in patches:
        for number, box in enumerate(find_objects(instances), 1):
            rows, columns = np.nonzero(instances[box] == number)
            cut = box[0].start == 0 or box[1].start == 0 or 256 in (box[0].stop, box[1].stop)
            if not cut and mask[box][rows[0], columns[0]] == cls:
                found.append((image[box][rows, columns, 1], np.stack([rows, columns], 1)))
    return found


def test_types_differ_in_size_shape_and_colour(patches: list[Patch]):
    lymphocyte, epithelial, stromal = (whole(patches, k) for k in (1, 2, 3))
    size, stretch, green = (
        [np.median([measure(*nucleus) for nucleus in kind]) for kind in (lymphocyte, epithelial, stromal)]
        for measure in (
            lambda level, place: len(place),
            lambda level, place: np.sqrt(np.divide(*np.linalg.eigvalsh(np.cov(place.T))[::-1])),
            lambda level, place: level.mean(),
        )
    )
    assert 5 < 2 * np.sqrt(size[0] / np.pi) * 0.25 < 6.5  # micrometres
    assert 6 < 2 * np.sqrt(size[1] / np.pi) * 0.25 < 9
    assert stretch[0] < stretch[1] < 1.7
    assert stretch[2] > 2.5
    assert green[0] < green[2] < green[1]


def test_nuclei_are_darker_than_what_is_around_them(patches: list[Patch]):
    for image, mask, _ in patches:
        assert image[mask > 0].mean() < image[mask == 0].mean() - 20


def test_another_process_draws_the_same_bytes(dataset: PhantomNuclei):
    code = (  # not through PhantomNuclei, which imports torch: seconds
        "import sys, numpy as np; from eva_vision.synthetic.patches import random_stain;"
        "from eva_vision.synthetic.nuclei import phantom_nuclei; r = np.random.default_rng;"
        "drawn = phantom_nuclei(r((0, 0, 1, 6)), random_stain(r((0, 0, 0, 1))), 64);"
        "sys.stdout.buffer.write(b''.join(a.tobytes() for a in drawn))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment).stdout
    small, sample = PhantomNuclei(size=64), dataset.samples[6]
    assert there == b"".join(a.tobytes() for a in (small.image(sample), small.mask(sample), small.instances(sample)))
