"""BRACS: official folders, slides by name."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.bracs import FOLDERS, Bracs
from tests.vision.datasets import trees

COUNTS = {"train": 14, "val": 14, "test": 14}
"""What the tree holds, in place of the published counts."""


def tree(root: Path) -> Path:
    return trees.write_images(
        root / "BRACS_RoI" / "latest_version",
        [
            f"{split}/{folder}/BRACS_{1000 + i}_{folder[2:]}_{n}.png"
            for i, split in enumerate(("train", "val", "test"))
            for folder in FOLDERS
            for n in (1, 2)
        ],
    ).parents[1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_split_class_and_slide(root: Path):
    samples = Bracs(str(root)).samples
    found = Counter((s.split, s.target) for s in samples)
    assert found == {(split, target): 2 for split in ("train", "val", "test") for target in range(7)}
    sample = next(s for s in samples if s.id == "val/5_DCIS/BRACS_1001_DCIS_2.png")
    assert (Bracs.card.classes[sample.target], sample.group) == ("DCIS", "BRACS_1001")


@pytest.mark.parametrize("place", [".", "BRACS_RoI", "BRACS_RoI/latest_version"])
def test_the_root_may_be_any_folder_on_the_way(root: Path, place: str):
    assert Bracs(str(root / place)).fingerprint() == Bracs(str(root)).fingerprint()


@pytest.mark.parametrize(
    "path", ["train/7_X/BRACS_1_X_1.png", "dev/0_N/BRACS_1_N_1.png", "train/0_N/1_N_1.png", "BRACS_1_N_1.png"]
)
def test_regions_in_unknown_folders_or_misnamed_are_named(root: Path, refusal, path: str):
    trees.write_images(root / "BRACS_RoI" / "latest_version", [path])
    assert f"1 extra ({path})" in refusal(Bracs, root)


def test_a_region_there_twice_is_named(root: Path, refusal):
    folder = root / "BRACS_RoI" / "latest_version"
    shutil.copy(folder / "train/1_PB/BRACS_1000_PB_1.png", folder / "test/1_PB/BRACS_1000_PB_1.png")
    assert "1 duplicate (BRACS_1000_PB_1.png)" in refusal(Bracs, root)


def test_missing_and_extra_regions_are_counted(root: Path, refusal):
    folder = root / "BRACS_RoI" / "latest_version"
    (folder / "train/1_PB/BRACS_1000_PB_1.png").unlink()
    trees.write_images(folder, ["test/6_IC/BRACS_1002_IC_3.png"])
    message = refusal(Bracs, root)
    assert "13 of 14 in train: 1 missing (N 2, PB 1, UDH 2, FEA 2, ADH 2, DCIS 2, IC 2)" in message
    assert "15 of 14 in test: 1 extra" in message


def test_a_slide_in_two_splits_is_told(root: Path, capsys: pytest.CaptureFixture[str]):
    folder = root / "BRACS_RoI" / "latest_version" / "test" / "6_IC"
    (folder / "BRACS_1002_IC_1.png").rename(folder / "BRACS_1000_IC_9.png")
    Bracs(str(root))
    assert "bracs: 1 groups are in several splits as published: BRACS_1000." in capsys.readouterr().err


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "bracs.icar.cnr.it" in refusal(Bracs, tmp_path)
