"""BACH: the split by name, and what happens when a name is missing."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_vision.datasets.bach import PREFIX, Bach
from tests.vision.datasets import trees

# As kaiko-ai/eva @ 73b61a79 gives them: half-open positions in a sorted listing of the 400 images.
TRAIN = ((0, 41), (59, 60), (90, 139), (169, 240), (258, 260), (273, 345), (368, 400))
VAL = ((41, 59), (60, 90), (139, 169), (240, 258), (260, 273), (345, 368))


def tree(root: Path) -> Path:
    return trees.write_images(
        root, [f"ICIAR2018_BACH_Challenge/Photos/{c}/{p}{n:03d}.tif" for c, p in PREFIX.items() for n in range(1, 101)]
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "bach")


def test_the_split_is_the_published_one(root: Path):
    samples = sorted(Bach(str(root)).samples, key=lambda s: s.id)
    assert Counter(s.split for s in samples) == {"train": 268, "val": 132}
    for split, ranges in (("train", TRAIN), ("val", VAL)):
        positions = [i for first, stop in ranges for i in range(first, stop)]
        assert {samples[i].split for i in positions} == {split}
        assert len(positions) == sum(s.split == split for s in samples)


def test_class_and_pixels_come_from_the_named_file(root: Path):
    dataset = Bach(str(root))
    sample = next(s for s in dataset.samples if s.id == "Invasive/iv017.tif")
    assert dataset.card.classes[sample.target] == "Invasive"
    path = root / "ICIAR2018_BACH_Challenge" / "Photos" / "Invasive" / "iv017.tif"
    assert sample.bytes == path.stat().st_size
    assert np.array_equal(dataset.image(sample), np.asarray(Image.open(path)))


@pytest.mark.parametrize("place", [".", "ICIAR2018_BACH_Challenge", "ICIAR2018_BACH_Challenge/Photos"])
def test_the_root_may_be_any_folder_on_the_way(root: Path, place: str):
    assert Bach(str(root / place)).fingerprint() == Bach(str(root)).fingerprint()


def test_a_missing_image_is_named_and_shifts_nothing(root: Path, refusal):
    (root / "ICIAR2018_BACH_Challenge/Photos/Benign/b005.tif").unlink()
    assert "1 missing (Benign/b005.tif)" in refusal(Bach, root)


def test_extra_misplaced_and_empty_images_are_named(root: Path, refusal):
    photos = root / "ICIAR2018_BACH_Challenge" / "Photos"
    (photos / "Normal" / "n001.tif").rename(photos / "Benign" / "n001.tif")
    (photos / "Normal" / "n002 copy.tif").write_bytes((photos / "Normal" / "n002.tif").read_bytes())
    (photos / "InSitu" / "is100.tif").write_bytes(b"")
    message = refusal(Bach, root)
    assert "1 missing (Normal/n001.tif)" in message
    assert "2 extra (Benign/n001.tif, Normal/n002 copy.tif)" in message
    assert "1 empty (InSitu/is100.tif)" in message


def test_other_files_do_not_matter(root: Path):
    before = Bach(str(root)).fingerprint()
    (root / "ICIAR2018_BACH_Challenge/Photos/microscopy_ground_truth.csv").write_text("n001.tif,Normal")
    (root / "ICIAR2018_BACH_Challenge/Photos/Benign/._b001.tif").write_bytes(b"made by a Mac")
    assert Bach(str(root)).fingerprint() == before


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    message = refusal(Bach, tmp_path)
    assert "zenodo.org/records/3632035" in message
    assert "--dataset.download true" in message


def test_the_splits_of_thunder_are_the_published_ones(root: Path):
    samples = sorted(Bach(str(root), splits="thunder").samples, key=lambda s: s.id)
    assert Counter(s.split for s in samples) == {"train": 218, "val": 50, "test": 132}
    # as MICS-Lab/thunder @ 1c5939f gives them: half-open positions, val out of what eva trains on
    val = ((15, 25), (110, 120), (200, 210), (305, 315), (380, 390))
    for split, ranges in (("val", val), ("test", VAL)):
        assert {samples[i].split for first, stop in ranges for i in range(first, stop)} == {split}
