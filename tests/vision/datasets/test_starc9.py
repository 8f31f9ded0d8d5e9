"""STARC-9: three official folders."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.starc9 import FOLDERS, Starc9
from tests.vision.datasets import trees

COUNTS = {"train": 18, "val": 9, "test": 9}
"""What the tree holds, in place of the published counts."""
CLASSES = Starc9.card.classes


def tree(root: Path) -> Path:
    names = [f"{FOLDERS['train']}/{label}/{n}.png" for label in CLASSES for n in range(2)]
    return trees.write_images(root, names + [f"{FOLDERS[s]}/{c}/9.png" for s in ("val", "test") for c in CLASSES])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_split_and_class_come_from_the_folders(root: Path):
    samples = Starc9(str(root)).samples
    assert Counter(s.split for s in samples) == COUNTS
    sample = next(s for s in samples if s.id == "STANFORD-CRC-HE-VAL-LARGE/FCT/9.png")
    assert (sample.split, CLASSES[sample.target], sample.group) == ("test", "FCT", None)


def test_missing_and_misplaced_images_are_refused(root: Path, refusal):
    (root / FOLDERS["val"] / "BLD/9.png").unlink()
    assert "8 of 9 in val: 1 missing" in refusal(Starc9, root)
    trees.write_images(root / FOLDERS["train"], ["XXX/1.png"])
    assert "1 extra (XXX/1.png)" in refusal(Starc9, root)


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "hf download Path2AI/STARC-9" in refusal(Starc9, tmp_path)
