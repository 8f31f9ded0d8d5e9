"""What every registered dataset promises."""

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from eva_core import registry
from eva_core.metric_names import NAMES as METRICS
from eva_core.types import Dataset, DatasetCard
from tests.conftest import write_tree
from tests.vision.datasets import trees

ENTRIES = [e for e in registry.datasets.entries() if e.package == "eva-pathology"]
NAMES = [e.name for e in ENTRIES]
SPLITS = {"train", "val", "test", "new"}


def small_folder(root: Path) -> Dataset:
    return registry.datasets.build("folder", root=str(write_tree(root)))


def small_phantom(root: Path) -> Dataset:
    return registry.datasets.build("phantom", train=8, val=8, test=16, size=32)


SMALL: dict[str, Callable[[Path], Dataset]] = {
    "folder": small_folder,
    "phantom": small_phantom,
    **{name: partial(trees.small, name) for name in trees.TREES},
}
"""How to have a little of each; a name without an entry here is built without arguments."""


def build(name: str, root: Path) -> Dataset:
    return SMALL[name](root) if name in SMALL else registry.datasets.build(name)


@pytest.fixture(scope="module", params=NAMES)
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Dataset]:
    return request.param, build(request.param, tmp_path_factory.mktemp("data"))


@pytest.fixture
def dataset(named: tuple[str, Dataset]) -> Dataset:
    return named[1]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_name_is_legal_and_unique(entry: registry.Entry):
    assert registry.NAME.fullmatch(entry.name)
    assert registry.datasets.find(entry.name) == entry


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_read_without_files(name: str):
    card = registry.datasets.load(name).card
    assert isinstance(card, DatasetCard)
    assert card.name == name
    assert card.metric in METRICS
    assert card.access != "unknown"


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_documented_and_typed(name: str):
    cls = registry.datasets.load(name)
    text = f"{cls.__doc__}{cls.__init__.__doc__}"
    for parameter in inspect.signature(cls).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert f"{parameter.name}:" in text


def test_what_is_built_keeps_the_name(named: tuple[str, Dataset]):
    name, dataset = named
    assert dataset.card.name == name


def test_ids_are_unique(dataset: Dataset):
    assert dataset.samples
    assert len({s.id for s in dataset.samples}) == len(dataset.samples)


def test_splits_are_known_and_samples_to_learn_from_are_labelled(dataset: Dataset):
    assert {s.split for s in dataset.samples} <= SPLITS
    for sample in dataset.samples:
        if sample.split != "new":
            assert sample.target in range(len(dataset.card.classes))


def test_every_class_is_in_train(dataset: Dataset):
    assert {s.target for s in dataset.samples if s.split == "train"} == set(range(len(dataset.card.classes)))


def test_groups_keep_to_one_split(dataset: Dataset):
    places = {(s.group, s.split) for s in dataset.samples if s.group is not None}
    assert len(places) == len({group for group, _ in places})


def test_images_are_uint8_rgb_and_the_same_each_time(dataset: Dataset):
    for sample in dataset.samples[:: max(1, len(dataset.samples) // 5)]:
        image = dataset.image(sample)
        assert isinstance(image, np.ndarray)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert np.array_equal(image, dataset.image(sample))


def test_the_fingerprint_is_the_same_for_the_same_files_elsewhere(named: tuple[str, Dataset], tmp_path: Path):
    name, dataset = named
    assert re.fullmatch("[0-9a-f]{64}", dataset.fingerprint())
    assert build(name, tmp_path).fingerprint() == dataset.fingerprint()


def test_samples_come_in_the_same_order_elsewhere(named: tuple[str, Dataset], tmp_path: Path):
    name, dataset = named
    assert [s.id for s in build(name, tmp_path).samples] == [s.id for s in dataset.samples]
