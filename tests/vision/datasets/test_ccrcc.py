"""CCRCC: patients of TCGA train, of whom each class has a fifth drawn for val; Helsinki is the test."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.ccrcc import Ccrcc
from tests.vision.datasets import trees

COUNTS = {"train": 24, "val": 6, "test": 6}
"""What the tree holds, in place of the published counts."""
CLASSES = Ccrcc.card.classes


def tree(root: Path) -> Path:
    """Five patients of TCGA for each class, two images each, and two of Helsinki."""
    return trees.write_images(
        root,
        [
            f"tissue_classification/{label}/TCGA-B{c}-40{p:02d}-01Z-00-DX1_{x}.png"
            for c, label in enumerate(CLASSES)
            for p in range(5)
            for x in (0, 300)
        ]
        + [f"tissue_classification/{label}/HE-{c}-{x}.png" for c, label in enumerate(CLASSES) for x in (0, 300)],
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_split_group_and_site_come_from_the_name(root: Path):
    samples = Ccrcc(str(root)).samples
    assert Counter((s.split, s.target) for s in samples) == {
        (split, target): n for split, n in (("train", 8), ("val", 2), ("test", 2)) for target in range(3)
    }
    sample = next(s for s in samples if s.id == "stroma/TCGA-B2-4003-01Z-00-DX1_300.png")
    assert (sample.target, sample.group, sample.site) == (2, "TCGA-B2-4003", "TCGA")
    other = next(s for s in samples if s.id == "normal/HE-1-0.png")
    assert (other.split, other.group, other.site) == ("test", None, "Helsinki")


def test_the_draw_is_that_of_the_published_code(root: Path):
    # random.seed(0), then random.sample(patients, int(0.2 * 5)) for cancer, normal and stroma, by CPython 3.11
    val = {s.group for s in Ccrcc(str(root)).samples if s.split == "val"}
    assert val == {"TCGA-B0-4003", "TCGA-B1-4003", "TCGA-B2-4000"}


@pytest.mark.parametrize("place", [".", "tissue_classification"])
def test_the_root_may_be_any_folder_on_the_way(root: Path, place: str):
    assert Ccrcc(str(root / place)).fingerprint() == Ccrcc(str(root)).fingerprint()


def test_a_patient_whose_classes_are_in_two_splits_is_told(root: Path, capsys: pytest.CaptureFixture[str]):
    folder = root / "tissue_classification"
    (folder / "normal/TCGA-B1-4000-01Z-00-DX1_0.png").rename(folder / "normal/TCGA-B0-4003-01Z-00-DX1_0.png")
    Ccrcc(str(root))
    assert "ccrcc: 1 groups are in several splits as published: TCGA-B0-4003." in capsys.readouterr().err


def test_another_draw_is_told_and_not_refused(root: Path, capsys: pytest.CaptureFixture[str]):
    folder = root / "tissue_classification" / "cancer"
    for x in (0, 300):
        (folder / f"TCGA-B0-4004-01Z-00-DX1_{x}.png").rename(folder / f"TCGA-B0-4003-01Z-00-DX1_{x + 7}.png")
    Ccrcc(str(root))
    line = "ccrcc: drawn otherwise than for published scores, which do not compare: 26 train, published 24; 4 val"
    assert line in capsys.readouterr().err


def test_missing_misnamed_and_misplaced_images_are_refused(root: Path, refusal):
    folder = root / "tissue_classification"
    (folder / "cancer/HE-0-0.png").unlink()
    assert "5 of 6 in test: 1 missing (cancer 1, normal 2, stroma 2)" in refusal(Ccrcc, root)
    (folder / "cancer/TCGA-B0-4003-01Z-00-DX1_0.png").unlink()
    assert "29 of 30 in train and val: 1 missing (cancer 9, normal 10, stroma 10)" in refusal(Ccrcc, root)
    trees.write_images(folder, ["cancer/TCGA_B0.png"])
    assert "1 misnamed (cancer/TCGA_B0.png)" in refusal(Ccrcc, root)
    trees.write_images(folder, ["other/HE-1.png"])
    assert "1 extra (other/HE-1.png)" in refusal(Ccrcc, root)


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "zenodo.org/records/7898308" in refusal(Ccrcc, tmp_path)
