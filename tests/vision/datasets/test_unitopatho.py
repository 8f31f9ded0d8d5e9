"""UniToPatho: the official tables decide, the slide is in the name."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.unitopatho import UniToPatho
from tests.vision.datasets import trees

COUNTS = {"train": 12, "val": 12}
"""What the tree holds, in place of the published counts."""


def tree(root: Path) -> Path:
    names = {
        table: [
            (f"{label}/{slide}-B3-{label}.ndpi_ROI__mpp0.44_reg000_crop_sk0000{i}_(9060,{i},1812,1812).png", target)
            for target, label in enumerate(UniToPatho.card.classes)
            for i in range(2)
        ]
        for table, slide in (("train", 109), ("test", 252))
    }
    for table, rows in names.items():
        listed = [{"image_id": Path(path).name, "top_label": target} for path, target in rows]
        trees.write_table(root / "800" / f"{table}.csv", listed)
        trees.write_images(root / "800", [path for path, _ in rows])
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def edit(root: Path, table: str, old: str, new: str) -> None:
    file = root / "800" / table
    file.write_text(file.read_text().replace(old, new, 1))


def test_split_label_and_slide(root: Path):
    samples = UniToPatho(str(root)).samples
    assert Counter((s.split, s.target) for s in samples) == {(p, t): 2 for p in ("train", "val") for t in range(6)}
    sample = next(s for s in samples if s.split == "val" and s.target == 5)
    assert sample.group == "252-B3-TVA.LG"
    assert sample.path == root / "800" / "TVA.LG" / sample.id


def test_the_root_may_be_the_folder_itself(root: Path):
    assert UniToPatho(str(root / "800")).fingerprint() == UniToPatho(str(root)).fingerprint()


def test_missing_extra_and_duplicate_images_are_named(root: Path, refusal):
    first, second = sorted((root / "800" / "HP").iterdir())[:2]
    trees.write_images(root / "800", ["HP/other.png", f"NORM/{second.name}"])
    first.unlink()
    message = refusal(UniToPatho, root)
    assert f"1 missing ({first.name})" in message
    assert "1 extra (other.png)" in message
    assert f"1 duplicate ({second.name})" in message


def test_an_image_in_both_tables_is_named(root: Path, refusal):
    train = (root / "800" / "train.csv").read_text().splitlines()
    with (root / "800" / "test.csv").open("a") as file:
        file.write(train[1] + "\n")
    assert "1 duplicate (109-B3-HP.ndpi" in refusal(UniToPatho, root)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [(",5", ",6", "top_label to be 0 to 5"), ("top_label", "label", "Expected the columns image_id, top_label")],
)
def test_a_wrong_table_is_named(root: Path, refusal, old: str, new: str, said: str):
    edit(root, "test.csv", old, new)
    assert said in refusal(UniToPatho, root)


def test_a_shorter_table_is_noticed(root: Path, refusal):
    lines = (root / "800" / "train.csv").read_text().splitlines()
    (root / "800" / "train.csv").write_text("\n".join(lines[:-1]))
    assert "1 extra (109-B3-TVA.LG" in refusal(UniToPatho, root)


def test_a_slide_in_two_splits_is_told(root: Path, capsys: pytest.CaptureFixture[str]):
    name = "109-B3-HP.ndpi_ROI__x.png"
    old = (root / "800" / "test.csv").read_text().splitlines()[1].rpartition(",")[0].strip('"')
    (root / "800" / "HP" / old).rename(root / "800" / "HP" / name)
    edit(root, "test.csv", f'"{old}"', name)
    UniToPatho(str(root))
    assert "unitopatho: 1 groups are in several splits as published: 109-B3-HP." in capsys.readouterr().err


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "ieee-dataport.org" in refusal(UniToPatho, tmp_path)
