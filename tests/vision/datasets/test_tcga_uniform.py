"""TCGA-UNIFORM: patients of each cancer in three splits, and the finest level alone."""

import random
from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.tcga_uniform import TcgaUniform
from tests.vision.datasets import trees

COUNTS = {"train": 96, "val": 32, "test": 32}
"""What the tree holds, in place of the published counts."""
CLASSES = TcgaUniform.card.classes


def slide(cancer: int, number: int) -> str:
    return f"TCGA-{cancer:02d}-{number:04d}-01Z-00-DX1"


def tree(root: Path) -> Path:
    """Five patients of each cancer, with a patch each; and one patch of a coarser level."""
    names = [f"{name}/0/{slide(c, p)}/1.jpg" for c, name in enumerate(CLASSES) for p in range(5)]
    return trees.write_images(root, [*names, f"Thymoma/1/{slide(27, 0)}/1.jpg"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_patients_of_each_cancer_are_divided(root: Path):
    samples = TcgaUniform(str(root)).samples
    counts = Counter((s.split, s.target) for s in samples)
    assert counts == {(split, target): COUNTS[split] // 32 for split in COUNTS for target in range(32)}
    sample = next(s for s in samples if s.target == 27)
    assert sample.id.startswith("Thymoma/TCGA-27-")
    assert sample.group == sample.id.split("/")[1][:12]


def test_the_draw_is_that_of_the_published_code(root: Path):
    random.seed(0)  # as MICS-Lab/thunder: one stream over all cancers, shuffling the patients of each
    expected = {}
    for c in range(32):
        order = [slide(c, p)[:12] for p in range(5)]
        random.shuffle(order)
        expected |= dict(zip(order, ("train", "train", "train", "val", "test"), strict=True))
    assert {s.group: s.split for s in TcgaUniform(str(root)).samples} == expected


def test_slides_of_one_patient_stay_together(root: Path, monkeypatch: pytest.MonkeyPatch):
    trees.write_images(root, [f"Thymoma/0/TCGA-27-{p:04d}-01Z-00-DX2/{n}.jpg" for p in range(5) for n in range(2)])
    monkeypatch.setattr(TcgaUniform, "counts", {"train": 102, "val": 34, "test": 34})
    samples = TcgaUniform(str(root)).samples
    assert len({(s.group, s.split) for s in samples}) == len({s.group for s in samples})


def test_images_without_a_patient_missing_ones_and_missing_cancers_are_refused(root: Path, refusal):
    (root / f"Thymoma/0/{slide(27, 3)}/1.jpg").unlink()
    assert "159 of 160 in train and val and test: 1 missing" in refusal(TcgaUniform, root)
    trees.write_images(root, ["Sarcoma/0/1.jpg", "Sarcoma/0/slide/2.jpg"])
    assert "2 extra (1.jpg, slide/2.jpg)" in refusal(TcgaUniform, root)
    (root / "Mesothelioma").rename(root / "elsewhere")
    assert "Expected Mesothelioma" in refusal(TcgaUniform, root)
