"""CRC, normalised and not: folders, names and counts."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.crc import CLASSES, Crc
from tests.vision.datasets import trees

COUNTS = {"train": 18, "val": 9}
"""What the tree holds, in place of the published counts."""


def tree(root: Path, train: str = "NCT-CRC-HE-100K") -> Path:
    return trees.write_images(
        root,
        [f"{train}/{c}/{c}-AAAFLCL{x}.tif" for c in CLASSES for x in "AB"]
        + [f"CRC-VAL-HE-7K/{c}/{c}-TCGA-AAICEQFN.tif" for c in CLASSES],
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_split_class_and_id_come_from_the_folders(root: Path):
    samples = Crc(str(root)).samples
    assert Counter(s.split for s in samples) == {"train": 18, "val": 9}
    sample = next(s for s in samples if s.id == "CRC-VAL-HE-7K/MUS/MUS-TCGA-AAICEQFN.tif")
    assert (sample.split, CLASSES[sample.target or 0], sample.group) == ("val", "MUS", None)
    assert sample.path == root / sample.id
    assert sample.bytes == sample.path.stat().st_size


def test_a_missing_image_is_counted_with_its_class(root: Path, refusal):
    (root / "NCT-CRC-HE-100K" / "STR" / "STR-AAAFLCLA.tif").unlink()
    message = refusal(Crc, root)
    assert "17 of 18 in train: 1 missing" in message
    assert "NORM 2, STR 1, TUM 2" in message


def test_an_image_too_many_is_counted(root: Path, refusal):
    trees.write_images(root, ["CRC-VAL-HE-7K/TUM/TUM-TCGA-ZZZZZZZZ.tif"])
    assert "10 of 9 in val: 1 extra" in refusal(Crc, root)


@pytest.mark.parametrize(
    "path", ["ADI/ADI-AAAFLCLA (1).tif", "ADI/BACK-AAAFLCLA.tif", "POLYP/POLYP-AAA.tif", "loose.tif", "ADI/x/ADI-A.tif"]
)
def test_copies_and_misplaced_images_are_named(root: Path, refusal, path: str):
    trees.write_images(root / "NCT-CRC-HE-100K", [path])
    assert f"1 extra ({path})" in refusal(Crc, root)


def test_an_empty_image_is_named(root: Path, refusal):
    (root / "NCT-CRC-HE-100K" / "LYM" / "LYM-AAAFLCLA.tif").write_bytes(b"")
    assert "1 empty (LYM/LYM-AAAFLCLA.tif)" in refusal(Crc, root)


def test_a_missing_folder_is_named_with_where_to_get_it(tmp_path: Path, refusal):
    message = refusal(Crc, tmp_path)
    assert "NCT-CRC-HE-100K" in message
    assert "zenodo.org/records/1214456" in message


def test_one_listing_per_folder_gives_names_and_sizes(root: Path, monkeypatch: pytest.MonkeyPatch):
    listed, asked, scandir, stat = [], [], os.scandir, os.stat
    monkeypatch.setattr("os.scandir", lambda path: listed.append(path) or scandir(path))
    monkeypatch.setattr("os.stat", lambda path, **more: asked.append(str(path)) or stat(path, **more))
    assert len(Crc(str(root)).samples) == 27
    assert len(listed) == 2 * (1 + len(CLASSES))
    assert not [path for path in asked if path.endswith(".tif")]


def test_thunder_draws_a_fifth_of_train_to_validate_on(root: Path):
    samples = Crc(str(root), splits="thunder").samples
    assert Counter(s.split for s in samples) == {"train": 15, "val": 3, "test": 9}
    random.seed(0)  # as MICS-Lab/thunder: of all images class by class, in the order of their names
    train = sorted(str(path.relative_to(root)) for path in (root / "NCT-CRC-HE-100K").rglob("*.tif"))
    assert {s.id for s in samples if s.split == "val"} == {train[i] for i in random.sample(range(18), 3)}
