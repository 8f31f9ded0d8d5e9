"""SegPath: pairs of the official list, slides by their names."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from eva_core import registry
from eva_core.errors import EvaError
from eva_vision.datasets.segpath import SegPathEpithelial
from tests.vision.datasets import trees

COUNTS = {"train": 2, "val": 1, "test": 1}
"""What each tree holds, in place of the published counts."""
ARCHIVES = {"segpath_epithelial": "panCK_Epithelium", "segpath_lymphocytes": "CD3CD20_Lymphocyte"}
SPLITS = {"001_000000_000984": "train", "001_000000_001968": "train", "002_000000_000000": "val", "024_1_2": "test"}


def tree(root: Path, name: str = "segpath_epithelial") -> Path:
    archive, rows = ARCHIVES[name], []
    for i, (place, split) in enumerate(SPLITS.items()):
        stem = f"{archive}/{archive}_{place}"
        trees.write_images(root, [f"{stem}_HE.png"])
        trees.write_labels(root / f"{stem}_mask.png", trees.labels(i, (0, 1)))
        rows += [{"filename": f"{stem}_{end}.png", "train_val_test": split} for end in ("HE", "mask")]
    trees.write_table(listed(root, name), rows)
    return root


def listed(root: Path, name: str = "segpath_epithelial") -> Path:
    return root / f"{ARCHIVES[name].partition('_')[0]}_fileinfo.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "segpath")


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_list_splits_and_names_have_the_slide(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trees.patch_counts(monkeypatch, name, trees.module_of(name))
    dataset = registry.datasets.load(name)(str(tree(tmp_path, name)))
    assert [(s.split, s.group) for s in dataset.samples] == [
        *[("train", "001"), ("train", "001"), ("val", "002"), ("test", "024")]
    ]
    assert dataset.samples[0].id == f"{ARCHIVES[name]}_001_000000_000984_HE.png"
    assert np.array_equal(dataset.mask(dataset.samples[1]), trees.labels(1, (0, 1)))


def test_a_list_that_is_packed_under_its_plain_name_is_read(root: Path):
    before = SegPathEpithelial(str(root)).fingerprint()
    listed(root).write_bytes(gzip.compress(listed(root).read_bytes()))
    assert SegPathEpithelial(str(root)).fingerprint() == before
    listed(root).write_bytes(listed(root).read_bytes()[:-12])
    with pytest.raises(EvaError, match=r"Expected a list of images in .*fileinfo\.csv, but it does not read"):
        SegPathEpithelial(str(root))


def test_what_is_missing_extra_or_listed_twice_is_named(root: Path, refusal):
    (root / "panCK_Epithelium/panCK_Epithelium_024_1_2_mask.png").unlink()
    trees.write_images(root / "panCK_Epithelium", ["panCK_Epithelium_9_9_9_HE.png"])
    listed(root).write_text(
        listed(root).read_text() + "panCK_Epithelium/panCK_Epithelium_024_1_2_HE.png,test\na_HE.png,val\n"
    )
    message = refusal(SegPathEpithelial, root)
    assert "missing (panCK_Epithelium_024_1_2_mask.png" in message
    assert "1 extra (panCK_Epithelium_9_9_9_HE.png)" in message
    assert "1 misnamed (a_HE.png)" in message
    assert "1 duplicate (panCK_Epithelium_024_1_2_HE.png)" in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,split\n", "Expected the columns filename, train_val_test in .*, but got name, split"),
        ("", "but got none"),
        ("filename,train_val_test\na_HE.png,dev\n", "Expected train, val or test for each image in .*, but got 'dev'"),
        ("filename,train_val_test\na_HE.png\n", "but got ''"),
    ],
)
def test_a_list_of_another_form_is_told(root: Path, text: str, reason: str):
    listed(root).write_text(text)
    with pytest.raises(EvaError, match=reason) as caught:
        SegPathEpithelial(str(root))
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_told(root: Path, refusal):
    listed(root).unlink()
    assert "panCK_fileinfo.csv, but it does not read" in refusal(SegPathEpithelial, root)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("segpath_epithelial", {"train": 21912, "val": 2259, "test": 2338}),
        ("segpath_lymphocytes", {"train": 10453, "val": 1082, "test": 738}),
    ],
)
def test_the_published_counts_are_those_of_thunder_s_tiles(name: str, counts: dict[str, int], monkeypatch):
    monkeypatch.undo()
    assert registry.datasets.load(name).counts == counts
    tiles = {"segpath_epithelial": (197208, 20331, 21042), "segpath_lymphocytes": (94077, 9738, 6642)}
    assert tuple(9 * n for n in counts.values()) == tiles[name]  # 3 x 3 tiles of 256 px in 984 px


def test_a_strange_label_is_named(root: Path):
    trees.write_labels(
        root / "panCK_Epithelium/panCK_Epithelium_001_000000_000984_mask.png", np.full((8, 8), 255, np.uint8)
    )
    dataset = SegPathEpithelial(str(root))
    with pytest.raises(EvaError, match=r"labels from 0 to 1 in .*_mask\.png, but got 255"):
        dataset.mask(dataset.samples[0])


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "zenodo.org/records/7412731" in refusal(SegPathEpithelial, tmp_path)
