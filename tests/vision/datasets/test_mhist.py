"""MHIST: the official table decides."""

import random
from pathlib import Path

import pytest

from eva_vision.datasets.mhist import Mhist, MhistVotes
from tests.vision.datasets import trees

COUNTS = {"train": 3, "val": 2}
THUNDER_COUNTS = {"train": 3, "val": 0, "test": 2}
"""What the tree holds, in place of the published counts."""


ROWS = [
    ("a", "SSA", "train", 5),
    ("b", "HP", "train", 2),
    ("c", "HP", "test", 0),
    ("d", "SSA", "train", 7),
    ("e", "SSA", "test", 4),
]
VOTES = "Number of Annotators who Selected SSA (Out of 7)"


def tree(root: Path, name: str = "mhist") -> Path:
    del name  # both are of the same files
    rows = [
        {"Image Name": f"MHIST_aa{x}.png", "Majority Vote Label": y, VOTES: votes, "Partition": z}
        for x, y, z, votes in ROWS
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


def test_thunder_draws_a_fifth_of_train_in_the_order_of_the_table(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    more = [f"MHIST_bb{n:02d}.png,HP,5,{'test' if n % 4 == 3 else 'train'}" for n in range(19, -1, -1)]
    table = root / "annotations.csv"
    table.write_text(table.read_text() + "\n".join(more))
    trees.write_images(root / "images", [line.partition(",")[0] for line in more])
    monkeypatch.setattr(Mhist, "counts", {"train": 18, "val": 7})
    monkeypatch.setattr(Mhist, "thunder_counts", {"train": 15, "val": 3, "test": 7})
    random.seed(0)  # as MICS-Lab/thunder: a number for each row of train
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    val = {row[0] for row in rows if row[3] == "train" and random.uniform(0, 1) < 0.2}
    samples = Mhist(str(root), splits="thunder").samples
    assert {s.id for s in samples if s.split == "val"} == val
    assert sum(s.split == "test" for s in samples) == 7
    told = capsys.readouterr().err
    assert ("mhist: drawn otherwise than for published scores" in told) == (len(val) != 3)


@pytest.fixture
def votes(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(MhistVotes, "counts", COUNTS)
    return root


def test_votes_are_shares_of_seven(votes: Path):
    samples = MhistVotes(str(votes)).samples
    assert [s.target for s in samples] == [(v / 7,) for v in (5, 2, 0, 7, 4)]
    assert [s.split for s in samples] == [s.split for s in Mhist(str(votes)).samples]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",7,", ",8,", "from 0 to 7"),
        (",5,", ",many,", "got many"),
        ("(Out of 7)", "(Out of 9)", "Expected the columns Image Name, Number of Annotators who Selected SSA"),
    ],
)
def test_wrong_votes_are_named(votes: Path, refusal, old: str, new: str, said: str):
    edit(votes, old, new)
    assert said in refusal(MhistVotes, votes)
