"""PanNuke: folds of arrays that stay in their files, with a channel for each kind of nucleus."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.datasets.pannuke import Pannuke
from tests.conftest import picture

COUNTS = {"train": 2, "val": 1, "test": 1}
"""What the tree holds, in place of the published counts."""
SIDE = 16


def masks_of(seed: int) -> np.ndarray:
    """Two nuclei of each kind in stripes, float64 (SIDE, SIDE, 6), the last channel the background."""
    stripes = (np.arange(SIDE) + seed)[:, None].repeat(SIDE, 1) % 8
    stored = np.zeros((SIDE, SIDE, 6))
    for kind in range(5):
        stored[:, :, kind] = np.where(stripes == kind, 1 + (np.arange(SIDE) >= SIDE // 2), 0)
    stored[:, :, 5] = stripes > 4
    return stored


def tree(root: Path) -> Path:
    for fold, n in enumerate(COUNTS.values(), start=1):
        for kind, one in (("images", lambda i: picture(i, size=SIDE).astype(float)), ("masks", masks_of)):
            file = root / f"Fold {fold}" / kind / f"fold{fold}" / f"{kind}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, np.stack([one(10 * fold + i) for i in range(n)]))
    return root


def array_of(root: Path, fold: int, kind: str) -> Path:
    return root / f"Fold {fold}" / kind / f"fold{fold}" / f"{kind}.npy"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_each_fold_is_a_split(root: Path):
    samples = Pannuke(str(root)).samples
    assert [(s.id, s.split) for s in samples] == [
        *[("fold1_0000", "train"), ("fold1_0001", "train"), ("fold2_0000", "val"), ("fold3_0000", "test")]
    ]
    assert samples[1].path == array_of(root, 1, "images")


def test_folders_without_the_space_are_found(root: Path):
    before = Pannuke(str(root)).fingerprint()
    for fold in (1, 2, 3):
        (root / f"Fold {fold}").rename(root / f"Fold{fold}")
    assert Pannuke(str(root)).fingerprint() == before


def test_images_are_those_of_the_array_and_arrays_stay_in_their_files(root: Path):
    dataset = Pannuke(str(root))
    assert np.array_equal(dataset.image(dataset.samples[1]), picture(11, size=SIDE))
    assert all(isinstance(array, np.memmap) for array in dataset._arrays.values())
    again = pickle.loads(pickle.dumps(dataset))
    assert not again._arrays
    assert np.array_equal(again.image(again.samples[1]), dataset.image(dataset.samples[1]))


def test_kinds_become_classes_and_nuclei_have_numbers_of_their_own(root: Path):
    dataset = Pannuke(str(root))
    sample, stored = dataset.samples[0], masks_of(10)
    mask, instances = dataset.mask(sample), dataset.instances(sample)
    for kind in range(5):
        assert (mask[stored[:, :, kind] > 0] == kind + 1).all()
    assert (mask[stored[:, :, 5] > 0] == 0).all()
    assert len(np.unique(instances)) == 11  # two of each kind, and none
    assert all(len(np.unique(mask[instances == number])) == 1 for number in np.unique(instances))


def test_where_kinds_overlap_the_later_one_counts(root: Path):
    stored = np.load(array_of(root, 1, "masks"))
    stored[0, 0, 0, :] = (3, 0, 0, 4, 0, 0)
    np.save(array_of(root, 1, "masks"), stored)
    dataset = Pannuke(str(root))
    assert dataset.mask(dataset.samples[0])[0, 0] == 4


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("images", lambda a: a[..., :2], r"an array \(N, H, W, 3\) in .*images\.npy.* \(2, 16, 16, 2\)"),
        ("masks", lambda a: a[:1], r"an array \(N, H, W, 6\) in .*masks\.npy.* \(1, 16, 16, 6\)"),
        ("masks", lambda a: a[0], r"\(16, 16, 6\)"),
    ],
)
def test_arrays_of_another_shape_are_told(root: Path, kind: str, change, reason: str):
    file = array_of(root, 1, kind)
    np.save(file, change(np.load(file)))
    with pytest.raises(EvaError, match=reason) as caught:
        Pannuke(str(root))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_file_that_is_no_array_or_is_cut_is_told(root: Path, content: bytes | None, refusal):
    file = array_of(root, 2, "masks")
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    assert f"Expected an array in {file}, but it does not read" in refusal(Pannuke, root)


def test_an_array_of_objects_is_not_unpickled(root: Path, refusal):
    file = array_of(root, 2, "masks")
    np.save(file, np.array([object()]), allow_pickle=True)
    assert f"Expected an array in {file}, but it does not read" in refusal(Pannuke, root)


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("images", 256.0, "Expected colours from 0 to 255"),
        ("images", np.nan, "Expected colours from 0 to 255"),
        ("masks", 0.5, "Expected whole numbers"),
        ("masks", -1.0, "Expected numbers of objects from 0"),
    ],
)
def test_numbers_that_are_no_colours_or_nuclei_are_told(root: Path, kind: str, value: float, reason: str):
    stored = np.load(array_of(root, 1, kind))
    stored[0, 0, 0, 0] = value
    np.save(array_of(root, 1, kind), stored)
    dataset = Pannuke(str(root))
    with pytest.raises(EvaError, match=reason):
        (dataset.image if kind == "images" else dataset.mask)(dataset.samples[0])


def test_a_missing_file_says_how_to_get_it(root: Path, refusal):
    array_of(root, 3, "images").unlink()
    assert "Fold 3/images/fold3/images.npy, but it is not there" in refusal(Pannuke, root)
    assert "warwick.ac.uk" in refusal(Pannuke, root / "elsewhere")


def test_a_tiny_tree_is_refused_under_the_published_counts(root: Path, refusal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    message = refusal(Pannuke, root)
    assert all(f"of {n:,} in {split}" in message for split, n in {"train": 2656, "val": 2523, "test": 2722}.items())
