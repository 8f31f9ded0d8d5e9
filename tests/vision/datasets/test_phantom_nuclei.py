"""Phantom nuclei: masks and instances that fit the pixels, the same everywhere, three types that differ in shape."""

import pickle
from collections import Counter

import numpy as np
import pytest

from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError
from eva_vision.datasets.phantom_nuclei import PhantomNuclei
from eva_vision.synthetic.nuclei import CLASSES

Patch = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def dataset() -> PhantomNuclei:
    return PhantomNuclei()


def test_splits_and_patients(dataset: PhantomNuclei):
    assert Counter(s.split for s in dataset.samples) == {"train": 80, "val": 24, "test": 48}
    assert dataset.samples[7].id == "train_0007"
    assert dataset.card.classes == CLASSES
    assert dataset.card.synthetic
    places = {(s.group, s.split) for s in dataset.samples}
    assert len(places) == len({s.group for s in dataset.samples}) == 20 + 6 + 12


def test_a_sample_depends_on_seed_split_and_number_alone(dataset: PhantomNuclei):
    sample = dataset.samples[82]  # val_0002, from another object with other counts, read after other images
    other = PhantomNuclei(train=1, val=5, test=1)
    again = next(s for s in other.samples if s.id == sample.id)
    other.image(other.samples[0])
    for read in ("image", "mask", "instances"):
        np.testing.assert_array_equal(getattr(other, read)(again), getattr(dataset, read)(sample))
    assert (dataset.image(sample) != dataset.image(dataset.samples[2])).any()
    assert (dataset.mask(sample) != PhantomNuclei(seed=1).mask(sample)).any()


def test_what_is_returned_may_be_written_to(dataset: PhantomNuclei):
    sample = dataset.samples[0]
    for read in (dataset.image, dataset.mask, dataset.instances):
        before = read(sample)
        read(sample)[:] = 9
        np.testing.assert_array_equal(read(sample), before)


def test_the_size_is_that_of_the_image_and_a_copy_draws_the_same():
    dataset = PhantomNuclei(size=40)
    there = pickle.loads(pickle.dumps(dataset))
    sample: Sample = dataset.samples[3]
    assert dataset.size(sample) == dataset.mask(sample).shape == dataset.image(sample).shape[:2] == (40, 40)
    np.testing.assert_array_equal(there.image(sample), dataset.image(sample))


def test_fingerprint_follows_whatever_decides_the_pixels(dataset: PhantomNuclei):
    assert dataset.fingerprint() == PhantomNuclei().fingerprint()
    others = [PhantomNuclei(seed=1), PhantomNuclei(size=128), PhantomNuclei(train=81), dataset]
    assert len({d.fingerprint() for d in others}) == 4


@pytest.mark.parametrize("name", ["train", "val", "test", "size"])
def test_sizes_must_be_positive(name: str):
    with pytest.raises(UsageError, match=f"^Expected argument {name} to be at least 1, but got 0"):
        PhantomNuclei(**{name: 0})


def test_seed_must_not_be_negative():
    with pytest.raises(UsageError, match=r"^Expected argument seed to be at least 0, but got -1"):
        PhantomNuclei(seed=-1)
