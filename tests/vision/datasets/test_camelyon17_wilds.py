"""CAMELYON17-WILDS: hospitals decide the split, and what is validated on trained slides is left out."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.camelyon17_wilds import Camelyon17Wilds
from tests.vision.datasets import trees

COUNTS = {"train": 12, "val": 4, "test": 4}
"""What the tree holds, in place of the published counts."""


def rows() -> list[dict[str, object]]:
    """A patient of each of five hospitals: four patches of both classes, and two for validation in distribution."""
    return [
        {
            "": center * 10 + n,
            "patient": f"{center * 20 + 4:03d}",
            "node": center,
            "x_coord": 96 * n,
            "y_coord": 7,
            "tumor": n % 2,
            "slide": center,
            "center": center,
            "split": int(n > 3),
        }
        for center in range(5)
        for n in range(4 if center in (1, 2) else 6)
    ]


def tree(root: Path) -> Path:
    folder = root / "camelyon17_v1.0"
    trees.write_table(folder / "metadata.csv", rows())
    names = [
        "patches/patient_{patient}_node_{node}/patch_patient_{patient}_node_{node}_x_{x_coord}_y_{y_coord}.png".format(
            **row
        )
        for row in rows()
    ]
    trees.write_images(folder, names)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_hospitals_decide_the_split(root: Path):
    samples = Camelyon17Wilds(str(root)).samples
    assert Counter((s.split, s.site) for s in samples) == {
        ("train", "0"): 4,
        ("val", "1"): 4,
        ("test", "2"): 4,
        ("train", "3"): 4,
        ("train", "4"): 4,
    }
    sample = samples[1]
    assert sample.id == "patient_004_node_0/patch_patient_004_node_0_x_96_y_7.png"
    assert (sample.target, sample.group) == (1, "patient_004")


@pytest.mark.parametrize("place", [".", "camelyon17_v1.0", "camelyon17_v1.0/patches"])
def test_the_root_may_be_any_folder_on_the_way(root: Path, place: str):
    assert Camelyon17Wilds(str(root / place)).fingerprint() == Camelyon17Wilds(str(root)).fingerprint()


def test_patches_that_are_missing_or_not_listed_are_named(root: Path, refusal):
    folder = root / "camelyon17_v1.0/patches"
    (folder / "patient_004_node_0/patch_patient_004_node_0_x_96_y_7.png").unlink()
    trees.write_images(folder, ["patient_004_node_0/other.png"])
    message = refusal(Camelyon17Wilds, root)
    assert "1 missing (patient_004_node_0/patch_patient_004_node_0_x_96_y_7.png)" in message
    assert "1 extra (patient_004_node_0/other.png)" in message


def test_a_table_that_is_wrong_or_not_there_is_named(root: Path, refusal):
    table = root / "camelyon17_v1.0/metadata.csv"
    for column, value in (("tumor", "2"), ("split", "3")):
        trees.write_table(table, [*rows()[1:], {**rows()[0], column: value}])
        assert f"Expected {column} to be 0 or 1" in refusal(Camelyon17Wilds, root)
    trees.write_table(table, [{k: v for k, v in row.items() if k != "center"} for row in rows()])
    assert "Expected the columns" in refusal(Camelyon17Wilds, root)
    table.unlink()
    assert "metadata.csv, but it does not exist" in refusal(Camelyon17Wilds, root)


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "wilds.stanford.edu" in refusal(Camelyon17Wilds, tmp_path)
