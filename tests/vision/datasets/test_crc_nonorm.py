"""CRC without stain normalisation: its own training folder, the same classes."""

from pathlib import Path

import pytest

from eva_vision.datasets.crc import Crc, CrcNonorm
from tests.vision.datasets import test_crc, trees

COUNTS = test_crc.COUNTS


def tree(root: Path) -> Path:
    return test_crc.tree(root, "NCT-CRC-HE-100K-NONORM")


def test_each_takes_its_own_training_folder(tmp_path: Path, refusal, monkeypatch: pytest.MonkeyPatch):
    trees.patch_counts(monkeypatch, "crc", test_crc)
    root = test_crc.tree(tmp_path)
    assert "Expected NCT-CRC-HE-100K-NONORM" in refusal(CrcNonorm, root)
    tree(root)
    ids = {s.id.partition("/")[0] for s in CrcNonorm(str(root)).samples}
    assert ids == {"NCT-CRC-HE-100K-NONORM", "CRC-VAL-HE-7K"}
    assert Crc(str(root)).fingerprint() != CrcNonorm(str(root)).fingerprint()


def test_both_have_the_classes_in_the_published_order():
    classes = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
    assert CrcNonorm.card.classes == Crc.card.classes == classes
