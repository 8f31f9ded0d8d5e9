"""MHIST: the official table decides."""

from pathlib import Path

import pytest

from eva_vision.datasets.mhist import Mhist
from tests.vision.datasets import trees

COUNTS = {"train": 3, "val": 2}
"""What the tree holds, in place of the published counts."""


ROWS = [("a", "SSA", "train"), ("b", "HP", "train"), ("c", "HP", "test"), ("d", "SSA", "train"), ("e", "SSA", "test")]


def tree(root: Path) -> Path:
    rows = [
        {"Image Name": f"MHIST_aa{x}.png", "Majority Vote Label": y, "Number of Annotators": 5, "Partition": z}
        for x, y, z in ROWS
    ]
    trees.write_table(root / "annotations.csv", rows)
    return trees.write_images(root / "images", [str(row["Image Name"]) for row in rows]).parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def edit(root: Path, old: str, new: str) -> None:
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace(old, new))


def test_split_and_label_come_from_the_table(root: Path):
    samples = {s.id: s for s in Mhist(str(root)).samples}
    assert [(s.split, s.target) for s in samples.values()] == [
        ("train", 0),
        ("train", 1),
        ("val", 1),
        ("train", 0),
        ("val", 0),
    ]
    assert samples["MHIST_aac.png"].path == root / "images" / "MHIST_aac.png"


def test_the_order_of_the_table_does_not_matter(root: Path):
    before = Mhist(str(root)).fingerprint()
    header, *rows = (root / "annotations.csv").read_text().splitlines()
    (root / "annotations.csv").write_text("\n".join([header, *reversed(rows)]))
    assert Mhist(str(root)).fingerprint() == before


def test_missing_extra_and_duplicate_images_are_named(root: Path, refusal):
    (root / "images" / "MHIST_aaa.png").rename(root / "images" / "other.png")
    edit(root, "MHIST_aac.png", "MHIST_aab.png")
    message = refusal(Mhist, root)
    assert "1 missing (MHIST_aaa.png)" in message
    assert "2 extra (MHIST_aac.png, other.png)" in message
    assert "1 duplicate (MHIST_aab.png)" in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",SSA,", ",ssa,", "Majority Vote Label to be SSA or HP"),
        (",test", ",holdout", "got holdout"),
        ("Partition", "Split", "Expected the columns Image Name, Majority Vote Label, Partition"),
    ],
)
def test_a_wrong_table_is_named(root: Path, refusal, old: str, new: str, said: str):
    edit(root, old, new)
    assert said in refusal(Mhist, root)


def test_a_part_moved_to_the_other_split_is_counted(root: Path, refusal):
    edit(root, ",test", ",train")
    assert "5 of 3 in train: 2 extra (SSA 3, HP 2); 0 of 2 in val: 2 missing" in refusal(Mhist, root)


def test_what_is_not_there_says_whom_to_ask(root: Path, tmp_path: Path, refusal):
    assert "bmirds.github.io/MHIST" in refusal(Mhist, tmp_path / "nowhere")
    (root / "annotations.csv").unlink()
    assert "annotations.csv" in refusal(Mhist, root)
