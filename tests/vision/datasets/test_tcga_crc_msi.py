"""TCGA-CRC-MSI: the official test, and a fifth of the patients of train for val."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.tcga_crc_msi import TcgaCrcMsi
from tests.vision.datasets import trees

COUNTS = {"train": 16, "val": 4, "test": 4}
"""What the tree holds, in place of the published counts."""


def tree(root: Path) -> Path:
    """Ten patients of train, of whom every other is unstable, and two of test; two images each."""
    names = [
        f"{part}/{'MSIH' if p % 2 else 'nonMSIH'}/TCGA-{site}-60{p:02d}-01Z-00-DX1_{x}.png"
        for part, site, patients in (("TRAIN", "AA", 10), ("TEST", "G4", 2))
        for p in range(patients)
        for x in "ab"
    ]
    return trees.write_images(root, names)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_split_class_and_patient(root: Path):
    samples = TcgaCrcMsi(str(root)).samples
    assert Counter(s.split for s in samples) == COUNTS
    sample = next(s for s in samples if s.id == "TRAIN/MSIH/TCGA-AA-6003-01Z-00-DX1_b.png")
    assert (TcgaCrcMsi.card.classes[sample.target], sample.group) == ("MSIH", "TCGA-AA-6003")
    # random.seed(0), then random.sample(patients of nonMSIH and then of MSIH, 2), by CPython 3.11
    assert {s.group for s in samples if s.split == "val"} == {"TCGA-AA-6003", "TCGA-AA-6009"}


def test_images_without_a_patient_and_missing_ones_are_refused(root: Path, refusal):
    (root / "TRAIN/MSIH/TCGA-AA-6003-01Z-00-DX1_b.png").unlink()
    assert "19 of 20 in train and val: 1 missing (nonMSIH 10, MSIH 9)" in refusal(TcgaCrcMsi, root)
    trees.write_images(root, ["TEST/MSIH/blk-1.png"])
    assert "1 extra (MSIH/blk-1.png)" in refusal(TcgaCrcMsi, root)


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "zenodo.org/records/3832231" in refusal(TcgaCrcMsi, tmp_path)
