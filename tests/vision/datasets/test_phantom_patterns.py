"""The patterns: the same pixels everywhere, patients that keep to their split, classes in balance."""

from collections import Counter

import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_vision.datasets.phantom_patterns import PhantomPatterns
from eva_vision.synthetic.patterns import CLASSES


@pytest.fixture(scope="module")
def dataset() -> PhantomPatterns:
    return PhantomPatterns()


def test_splits_have_the_sizes_asked_for(dataset: PhantomPatterns) -> None:
    assert Counter(s.split for s in dataset.samples) == {"train": 240, "val": 80, "test": 400}
    assert len({s.id for s in dataset.samples}) == 720
    assert dataset.samples[7].id == "train_0007"


def test_patients_keep_to_one_split_and_mix_classes(dataset: PhantomPatterns) -> None:
    splits = {(s.group, s.split) for s in dataset.samples}
    assert len(splits) == len({s.group for s in dataset.samples}) == 180
    of_one = [s.target for s in dataset.samples if s.group == dataset.samples[0].group]
    assert Counter(of_one) == {k: 1 for k in range(len(CLASSES))}


def test_classes_are_balanced_and_in_order(dataset: PhantomPatterns) -> None:
    assert dataset.card.classes == ("stroma", "glands", "sheets", "follicles")
    assert dataset.card.synthetic
    for split, n in (("train", 60), ("val", 20), ("test", 100)):
        assert Counter(s.target for s in dataset.samples if s.split == split) == {k: n for k in range(4)}


def test_an_image_depends_on_seed_split_and_number_alone(dataset: PhantomPatterns) -> None:
    sample = dataset.samples[242]  # val_0002, from another object with other counts, read after other images
    other = PhantomPatterns(train=1, val=5, test=1)
    for s in other.samples:
        again = other.image(s)
        if s.id == sample.id:
            np.testing.assert_array_equal(again, dataset.image(sample))
    assert (dataset.image(sample) != dataset.image(dataset.samples[2])).any()
    assert (dataset.image(sample) != PhantomPatterns(seed=1).image(sample)).any()


def test_fingerprint_follows_whatever_decides_the_pixels(dataset: PhantomPatterns) -> None:
    assert dataset.fingerprint() == PhantomPatterns().fingerprint()
    others = [PhantomPatterns(seed=1), PhantomPatterns(size=64), PhantomPatterns(train=241), dataset]
    assert len({d.fingerprint() for d in others}) == 4


@pytest.mark.parametrize("name", ["train", "val", "test", "size"])
def test_sizes_must_be_positive(name: str) -> None:
    with pytest.raises(UsageError, match=f"Expected argument {name} to be at least 1, but got 0"):
        PhantomPatterns(**{name: 0})


def test_seed_must_not_be_negative() -> None:
    with pytest.raises(UsageError, match="Expected argument seed to be at least 0, but got -1"):
        PhantomPatterns(seed=-1)
