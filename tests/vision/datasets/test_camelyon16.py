"""CAMELYON16: names, labels of the test slides, and the split of PatchCamelyon."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.camelyon16 import VAL, Camelyon16, Camelyon16Small
from eva_vision.slides import open_slide
from tests.vision.datasets import trees

NUMBERS = {"normal": 14, "tumor": 6, "test": 5}
COUNTS = {"train": 16, "val": 4, "test": 5}
TUMOURS = (2, 4)
"""Numbers of the test slides that have one."""
TINTS = {"normal": (205, 120, 170), "tumor": (150, 60, 150)}


def tree(root: Path) -> Path:
    base = root / "CAMELYON16"
    for k, kind in enumerate(("normal", "tumor")):
        for n in range(1, NUMBERS[kind] + 1):
            trees.write_slide(base / f"training/{kind}/{kind}_{n:03d}.tif", 100 * k + n, TINTS[kind], 0.243)
    lines = []
    for n in range(1, NUMBERS["test"] + 1):
        kind = "tumor" if n in TUMOURS else "normal"
        trees.write_slide(base / f"testing/images/test_{n:03d}.tif", 200 + n, TINTS[kind], 0.243)
        lines.append(f"test_{n:03d},{kind.capitalize()},{'IDC,Macro' if kind == 'tumor' else 'None,None'}")
    (base / "testing/reference.csv").write_text("\n".join(lines))
    (base / "testing/evaluation").mkdir()
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_the_split_is_that_of_patchcamelyon(root: Path):
    samples = Camelyon16(str(root)).samples
    assert {s.id for s in samples if s.split == "val"} == {"normal_010", "normal_013", "tumor_001", "tumor_005"}
    assert Counter(s.split for s in samples) == COUNTS
    labels = {s.id: s.target for s in samples}
    assert (labels["normal_001"], labels["tumor_006"], labels["test_001"], labels["test_004"]) == (0, 1, 0, 1)


def test_the_published_names_make_the_published_counts():
    assert (len(VAL["normal"]), len(VAL["tumor"])) == (32, 22)
    assert len({*VAL["normal"]}) + len({*VAL["tumor"]}) == 54
    trained = 160 - 1 + 111 - 54  # normal_086 became tumor_111
    assert (trained, 54, 130 - 1) == (216, 54, 129)


@pytest.mark.parametrize("place", [".", "CAMELYON16", "CAMELYON16/training"])
def test_the_root_may_be_any_folder_on_the_way(root: Path, place: str):
    assert Camelyon16(str(root / place)).fingerprint() == Camelyon16(str(root)).fingerprint()


def test_the_file_states_its_resolution(root: Path):
    dataset = Camelyon16(str(root))
    (slide,) = dataset.slides(dataset.samples[0])
    assert slide.mpp is None
    with open_slide(slide.path) as opened:
        assert opened.mpp == pytest.approx(0.243, rel=1e-4)
    assert dataset.image(dataset.samples[0]).shape == (256, 256, 3)


def test_the_small_one_has_the_same_slides(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Camelyon16Small, "numbers", NUMBERS)
    small, whole = Camelyon16Small(str(root)), Camelyon16(str(root))
    assert small.samples == whole.samples
    assert small.card.name == "camelyon16_small"
    assert small.identities() == whole.identities()  # so that both have the same bags, but for their number of patches


def test_slides_that_are_not_used_may_be_there(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Camelyon16, "numbers", {**NUMBERS, "normal": 87, "test": 50})
    base = root / "CAMELYON16"
    for n in range(15, 88):
        if n != 86:
            (base / f"training/normal/normal_{n:03d}.tif").hardlink_to(base / "training/normal/normal_001.tif")
    for n in range(6, 51):
        (base / f"testing/images/test_{n:03d}.tif").hardlink_to(base / "testing/images/test_001.tif")
    with (base / "testing/reference.csv").open("a") as file:
        file.writelines(f"\ntest_{n:03d},Normal,None,None" for n in range(6, 51))
    monkeypatch.setattr(Camelyon16, "counts", {"train": 73, "val": 19, "test": 49})
    ids = {s.id for s in Camelyon16(str(root)).samples}
    assert "test_050" in ids
    assert not ids & {"test_049", "normal_086"}  # the one is there, the other is not


def test_missing_extra_and_empty_slides_are_named(root: Path, refusal):
    folder = root / "CAMELYON16" / "training" / "tumor"
    (folder / "tumor_003.tif").unlink()
    (folder / "tumor_002_mask.tif").write_bytes(b"x")
    (folder / "tumor_004.tif").write_bytes(b"")
    message = refusal(Camelyon16, root)
    assert "1 missing (tumor_003.tif)" in message
    assert "1 extra (tumor_002_mask.tif)" in message
    assert "1 empty (tumor_004.tif)" in message


@pytest.mark.parametrize(("old", "new"), [("test_003,Normal", "test_003,Benign"), ("test_003", "test_033")])
def test_a_test_slide_without_label_is_named(root: Path, refusal, old: str, new: str):
    file = root / "CAMELYON16" / "testing" / "reference.csv"
    file.write_text(file.read_text().replace(old, new))
    assert "1 have none: test_003" in refusal(Camelyon16, root)
    file.unlink()
    assert "reference.csv" in refusal(Camelyon16, root)


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "camelyon17.grand-challenge.org/Data" in refusal(Camelyon16, tmp_path)
