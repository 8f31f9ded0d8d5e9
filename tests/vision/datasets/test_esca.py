"""ESCA: a folder for each site, and its split."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.esca import SETS, Esca
from tests.vision.datasets import trees

COUNTS = {"train": 22, "val": 11, "test": 11}
"""What the tree holds, in place of the published counts."""
CLASSES = Esca.card.classes


def tree(root: Path) -> Path:
    return trees.write_images(root, [f"{name}/{label}/{label.lower()}.0.jpg" for name in SETS for label in CLASSES])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_split_site_and_class_come_from_the_folders(root: Path):
    samples = Esca(str(root)).samples
    assert Counter((s.split, s.site) for s in samples) == {
        ("val", "UKK"): 11,
        ("train", "WNS"): 11,
        ("train", "TCGA"): 11,
        ("test", "CHA"): 11,
    }
    sample = next(s for s in samples if s.id == "VALSET2_WNS/SH_MAG/sh_mag.0.jpg")
    assert (CLASSES[sample.target], sample.group, sample.bytes) == ("SH_MAG", None, sample.path.stat().st_size)


def test_a_file_that_a_mac_left_in_the_archive_is_no_image(root: Path):
    before = Esca(str(root)).fingerprint()
    (root / "VALSET2_WNS/SH_MAG/._sh_mag.0.jpg").write_bytes(b"made by a Mac")
    assert Esca(str(root)).fingerprint() == before


def test_missing_and_misplaced_images_and_sites_are_refused(root: Path, refusal):
    (root / "VALSET3_TCGA/TUMOR/tumor.0.jpg").unlink()
    assert "21 of 22 in train: 1 missing" in refusal(Esca, root)
    trees.write_images(root, ["VALSET1_UKK/Tumor/1.jpg"])
    assert "1 extra (Tumor/1.jpg)" in refusal(Esca, root)
    (root / "VALSET1_UKK").rename(root / "UKK")
    message = refusal(Esca, root)
    assert "Expected VALSET1_UKK" in message
    assert "zenodo.org/records/7548828" in message
