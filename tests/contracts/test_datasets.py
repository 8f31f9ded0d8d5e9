"""What every registered dataset promises."""

import copy
import inspect
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFile

from eva_core import registry
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.store.reuse import contents_of
from eva_core.task import task_named
from eva_vision.regression.contracts import FoldedDataset
from eva_vision.segmentation.contracts import IGNORE, SegmentationDataset
from eva_vision.slide_level.contracts import SlideDataset
from tests.vision.datasets import trees

ENTRIES = [e for e in registry.datasets.entries() if e.package == "eva-pathology"]
DATASETS = trees.NAMES
SPLITS = {"train", "val", "test", "cv", "new"}


@pytest.fixture(scope="module", params=DATASETS)
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Dataset]:
    return request.param, trees.small(request.param, tmp_path_factory.mktemp("data"))


@pytest.fixture
def dataset(named: tuple[str, Dataset]) -> Dataset:
    return named[1]


@pytest.mark.parametrize("entry", ENTRIES, ids=DATASETS)
def test_the_name_is_legal_and_unique(entry: registry.Entry):
    assert registry.NAME.fullmatch(entry.name)
    assert registry.datasets.find(entry.name) == entry


@pytest.mark.parametrize("name", DATASETS)
def test_the_card_is_read_without_files(name: str):
    card = registry.datasets.load(name).card
    assert isinstance(card, DatasetCard)
    assert card.name == name
    assert card.metric in task_named(card.task).metrics(card)
    assert card.access != "unknown"


@pytest.mark.parametrize("name", DATASETS)
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
        if isinstance(dataset, SegmentationDataset):
            assert sample.target is None
            assert dataset.labelled(sample) == (sample.split != "new")
        elif isinstance(dataset, FoldedDataset):
            assert len(sample.target) == len(dataset.card.classes)
            assert np.isfinite(sample.target).all()
        elif dataset.card.task == "multilabel":
            assert sample.split == "new" or len(sample.target) == len(dataset.card.classes)
        elif sample.split != "new":
            assert sample.target in range(len(dataset.card.classes))
            assert not isinstance(dataset, SlideDataset) or sample.group  # intervals are by patient


def test_every_class_is_in_train(dataset: Dataset):
    if isinstance(dataset, FoldedDataset) or dataset.card.task == "multilabel":
        return  # values are no classes
    train = [s for s in dataset.samples if s.split in ("train", "cv")]
    if isinstance(dataset, SegmentationDataset):
        found = {label for s in train for label in np.unique(dataset.mask(s)).tolist()} - {IGNORE}
    else:
        found = {s.target for s in train}
    assert found == set(range(len(dataset.card.classes)))


def test_folds_divide_groups_and_score_each_once(dataset: Dataset):
    if not isinstance(dataset, FoldedDataset):
        return
    scored = [group for fold in dataset.folds() for group in fold.test]
    assert sorted(scored) == sorted({s.group for s in dataset.samples})
    assert all(set(fold.train).isdisjoint(fold.test) and fold.train for fold in dataset.folds())


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


def some_with_masks(dataset: Dataset) -> list[tuple[SegmentationDataset, Sample]]:
    if not isinstance(dataset, SegmentationDataset):
        return []
    labelled = [s for s in dataset.samples if s.label_path is not None]
    return [(dataset, s) for s in labelled[:: max(1, len(labelled) // 5)]]


def test_the_task_of_the_card_is_that_of_the_class(dataset: Dataset):
    assert (dataset.card.task == "segmentation") == isinstance(dataset, SegmentationDataset)
    assert dataset.card.background is None or dataset.card.background in range(len(dataset.card.classes))


def test_masks_hold_classes_in_the_size_of_their_image_and_the_same_each_time(dataset: Dataset):
    for masked, sample in some_with_masks(dataset):
        mask = masked.mask(sample)
        assert mask.dtype == np.uint8
        assert mask.shape == masked.image(sample).shape[:2] == masked.size(sample)
        assert set(np.unique(mask).tolist()) <= {*range(len(masked.card.classes)), IGNORE}
        mask[:] = 0  # a copy of one's own
        assert masked.mask(sample).any()


def test_objects_are_numbered_in_the_size_of_their_image(dataset: Dataset):
    for masked, sample in some_with_masks(dataset):
        instances = masked.instances(sample)
        if instances is not None:
            assert instances.dtype == np.int32
            assert instances.shape == masked.size(sample)
            assert instances.min() >= 0
            assert np.array_equal(instances, masked.instances(sample))


def test_the_size_of_an_image_is_known_without_decoding_it(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    masked = some_with_masks(dataset)
    sizes = [m.image(sample).shape[:2] for m, sample in masked]
    monkeypatch.delattr(ImageFile.ImageFile, "load")
    assert [m.size(sample) for m, sample in masked] == sizes


def test_what_travels_to_loader_processes_reads_the_same(dataset: Dataset):
    there = pickle.loads(pickle.dumps(dataset))
    sample = dataset.samples[0]
    assert np.array_equal(there.image(sample), dataset.image(sample))
    for masked, sample in some_with_masks(dataset):
        assert np.array_equal(there.mask(sample), masked.mask(sample))


def test_the_fingerprint_is_the_same_for_the_same_files_elsewhere(named: tuple[str, Dataset], tmp_path: Path):
    name, dataset = named
    assert re.fullmatch("[0-9a-f]{64}", dataset.fingerprint())
    assert trees.small(name, tmp_path).fingerprint() == dataset.fingerprint()


def test_a_bit_of_any_file_is_another_fingerprint(named: tuple[str, Dataset], tmp_path: Path):
    changed = trees.small(named[0], tmp_path)
    for file in changed.files(changed.samples[0]):
        before, content = changed.fingerprint(), bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        assert changed.fingerprint() != before


def test_every_dataset_of_images_says_what_decides_its_pixels_apart_from_labels(dataset: Dataset):
    if isinstance(dataset, SlideDataset):
        return  # bags are kept by slide, not by dataset
    contents = contents_of(dataset)
    assert contents.any(1).all()
    relabelled = copy.copy(dataset)
    relabelled.samples = [replace(s, split="test", group="g", site=None) for s in dataset.samples]
    assert np.array_equal(contents_of(relabelled), contents)


def test_slides_are_there_and_told_from_others_by_what_they_hold(named: tuple[str, Dataset], tmp_path: Path):
    name, dataset = named
    if not isinstance(dataset, SlideDataset):
        return
    again = trees.small(name, tmp_path)
    assert isinstance(again, SlideDataset)
    identities = dataset.identities()
    for sample in dataset.samples:
        slides = dataset.slides(sample)
        assert slides
        assert all(Path(slide.path).is_absolute() and Path(slide.path).exists() for slide in slides)
        assert [str(path) for path in dataset.files(sample)] == [slide.path for slide in slides]
        assert all(isinstance(value, str) and value for value in dataset.metadata(sample).values())
    assert sorted(identities.values()) == sorted(again.identities().values())
    assert len({*identities.values()}) == len(identities)


def test_samples_come_in_the_same_order_elsewhere(named: tuple[str, Dataset], tmp_path: Path):
    name, dataset = named
    assert [s.id for s in trees.small(name, tmp_path).samples] == [s.id for s in dataset.samples]
