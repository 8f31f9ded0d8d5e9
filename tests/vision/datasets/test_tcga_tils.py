"""TCGA-TILs: cohorts with official splits, and the links of the archive."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.tcga_tils import SPLITS, TcgaTils
from tests.vision.datasets import trees

COUNTS = {"train": 7, "val": 7, "test": 7}
"""What the tree holds, in place of the published counts."""


def tree(root: Path) -> Path:
    """Two cohorts of both classes, and one that lacks a class."""
    folder = root / "TCGA-TILs" / "images-tcga-tils"
    names = [
        f"{cohort}/{split}/til-{label}/TCGA-{i}{s}-{n}000-01Z-00-DX1_{n}.png"
        for i, (cohort, labels) in enumerate(
            (("acc", ("negative",)), ("brca", ("negative", "positive")), ("lung", ("negative", "positive")))
        )
        for s, split in enumerate(SPLITS)
        for label in labels
        for n in range(1 if label == "negative" else 2)
    ]
    trees.write_images(folder, names)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_split_class_and_patient_come_from_the_path(root: Path):
    samples = TcgaTils(str(root)).samples
    assert Counter((s.split, s.target) for s in samples) == {
        (split, target): n for split in SPLITS for target, n in ((0, 3), (1, 4))
    }
    sample = next(s for s in samples if s.id == "brca/val/til-positive/TCGA-11-1000-01Z-00-DX1_1.png")
    assert (sample.split, sample.group) == ("val", "TCGA-11-1000")


@pytest.mark.parametrize("place", [".", "TCGA-TILs", "TCGA-TILs/images-tcga-tils"])
def test_the_root_may_be_any_folder_on_the_way(root: Path, place: str):
    assert TcgaTils(str(root / place)).fingerprint() == TcgaTils(str(root)).fingerprint()


def test_links_to_images_count_once_and_linked_folders_are_named(root: Path, refusal):
    before = TcgaTils(str(root)).fingerprint()
    folder = root / "TCGA-TILs/images-tcga-tils"
    every = folder / "pancancer/train/til-negative"
    every.mkdir(parents=True)
    image = next((folder / "acc/train/til-negative").iterdir())
    (every / image.name).symlink_to(image)
    assert TcgaTils(str(root)).fingerprint() == before
    (folder / "all").symlink_to(folder / "acc")
    assert "links make the same files count by two names: all = acc" in refusal(TcgaTils, root)


def test_missing_and_misplaced_images_are_refused(root: Path, refusal):
    folder = root / "TCGA-TILs/images-tcga-tils"
    next((folder / "lung/test/til-positive").iterdir()).unlink()
    assert "6 of 7 in test: 1 missing (til-negative 3, til-positive 3)" in refusal(TcgaTils, root)
    trees.write_images(folder, ["brca/dev/til-positive/1.png"])
    assert "1 extra (brca/dev/til-positive/1.png)" in refusal(TcgaTils, root)


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "zenodo.org/records/6604094" in refusal(TcgaTils, tmp_path)
