"""CoNSeP: official folders, MATLAB files, seven kinds of nuclei in four classes."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from eva_core.errors import EvaError
from eva_vision.datasets.consep import PARTS, Consep
from tests.vision.datasets import trees


def write_mat(file: Path, **arrays: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, arrays, do_compression=True)
    with file.open("r+b") as handle:
        handle.write(b"MATLAB 5.0 MAT-file".ljust(116))  # without the date, so that two trees are the same
    return file


def tree(root: Path) -> Path:
    for part, n in PARTS.values():
        for i in range(1, n + 1):
            kinds = trees.labels(i, range(8)).astype(float)
            numbers = np.where(kinds > 0, np.arange(64.0).reshape(8, 8) + 1, 0)
            write_mat(root / part / "Labels" / f"{part.lower()}_{i}.mat", type_map=kinds, inst_map=numbers)
            trees.write_images(root / part / "Images", [f"{part.lower()}_{i}.png"])
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("consep") / "CoNSeP")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "CoNSeP")


def test_published_counts_and_a_group_for_each_image(whole: Path):
    dataset = Consep(str(whole))
    assert Counter(s.split for s in dataset.samples) == {"train": 27, "val": 14}
    assert [s.id for s in dataset.samples][:3] == ["train_1", "train_2", "train_3"]
    assert len({s.group for s in dataset.samples}) == 41
    assert (dataset.card.mpp, dataset.card.metric, dataset.card.background) == (0.25, "dice", 0)


@pytest.mark.parametrize("place", ["..", ".", "Train"])
def test_the_root_may_be_any_folder_on_the_way(whole: Path, place: str):
    assert Consep(str(whole / place)).samples[0].id == "train_1"
    assert Consep(str(whole / place)).samples[-1].path.samefile(whole / "Test" / "Images" / "test_14.png")


def test_types_become_classes_and_objects_keep_their_numbers(whole: Path):
    dataset = Consep(str(whole))
    sample = dataset.samples[30]
    stored = trees.labels(4, range(8))  # test_4
    names = np.array(dataset.card.classes)[dataset.mask(sample)]
    wanted = {0: "background", 1: "other", 2: "inflammatory", 3: "epithelial", 4: "epithelial"}
    wanted |= dict.fromkeys((5, 6, 7), "spindle")
    assert all(set(names[stored == kind]) == {name} for kind, name in wanted.items())
    instances = dataset.instances(sample)
    assert np.array_equal(instances > 0, stored > 0)
    assert len(np.unique(instances[instances > 0])) == (stored > 0).sum()


def test_missing_extra_and_empty_files_are_named(root: Path, refusal):
    (root / "Train" / "Images" / "train_3.png").unlink()
    (root / "Train" / "Labels" / "train_7.mat").unlink()
    (root / "Test" / "Labels" / "test_2.mat").write_bytes(b"")
    trees.write_images(root, ["Test/Images/test_15.png"])
    message = refusal(Consep, root)
    assert "2 missing (Train/Images/train_3.png, Train/Labels/train_7.mat)" in message
    assert "1 extra (Test/Images/test_15.png)" in message
    assert "1 empty (Test/Labels/test_2.mat)" in message


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "warwick.ac.uk" in refusal(Consep, tmp_path)


def damaged(root: Path, **arrays: np.ndarray) -> str:
    """The error that the mask of train_1 ends in."""
    if arrays:
        write_mat(root / "Train" / "Labels" / "train_1.mat", **arrays)
    dataset = Consep(str(root))
    with pytest.raises(EvaError, match=r"train_1\.") as caught:
        dataset.mask(dataset.samples[0])
    assert "\n" not in str(caught.value)
    assert dataset.mask(dataset.samples[1]).shape == (8, 8)  # nothing else is lost
    return str(caught.value)


def test_a_damaged_label_file_is_named(root: Path):
    file = root / "Train" / "Labels" / "train_1.mat"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"\x00" * 300, b"not MATLAB at all"):
        file.write_bytes(content)
        assert "Expected a MATLAB file" in damaged(root)


def test_wrong_arrays_are_named(root: Path):
    zeros = np.zeros((8, 8))
    assert "Expected inst_map in" in damaged(root, type_map=zeros)
    assert "labels from 0 to 7" in damaged(root, type_map=zeros + 8, inst_map=zeros)
    assert "whole numbers" in damaged(root, type_map=zeros + 0.5, inst_map=zeros)
    assert "numbers of objects from 0" in damaged(root, type_map=zeros, inst_map=zeros - 1)
    assert "is 8 x 7" in damaged(root, type_map=zeros[:, 1:], inst_map=zeros)
    assert "is 7 x 8" in damaged(root, type_map=zeros, inst_map=zeros[1:])


def test_labels_are_part_of_the_fingerprint(root: Path):
    before = Consep(str(root)).fingerprint()
    write_mat(root / "Test" / "Labels" / "test_1.mat", type_map=np.zeros((8, 8)), inst_map=np.zeros((8, 8)))
    assert Consep(str(root)).fingerprint() != before
