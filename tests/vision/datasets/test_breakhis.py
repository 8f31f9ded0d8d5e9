"""BreakHis: class and patient by name, one magnification, the published patients."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.breakhis import VAL_PATIENTS, BreakHis
from tests.vision.datasets import trees

# Images at 40X of each validation patient, as a listing of the public files counts them (their sum is published).
IMAGES = {"18842D": 16, "19979": 26, "15275": 12, "15792": 14, "16875": 14, "3909": 26, "5287": 23, "16716": 38}
IMAGES |= {"2773": 30, "5695": 23, "16184CD": 35, "23060CD": 14, "21998CD": 37, "21998EF": 31}


COUNTS = {"train": 8, "val": 6}
THUNDER_COUNTS = {"train": 4, "val": 4, "test": 6}
"""What the tree holds, in place of the published counts."""


PATIENTS = [("B", "TA", "16184"), ("B", "TA", "16184CD"), ("M", "MC", "18842"), ("M", "MC", "18842D")]
PATIENTS += [("B", "F", "9133"), ("M", "DC", "13412"), ("M", "DC", "2773"), ("M", "LC", "13412"), ("B", "A", "22549G")]


def tree(root: Path) -> Path:
    return trees.write_images(
        root,
        [
            f"BreaKHis_v1/histology_slides/breast/x/SOB/y/SOB_{b}_{c}_14-{p}/{m}X/SOB_{b}_{c}-14-{p}-{m}-{n:03d}.png"
            for b, c, p in PATIENTS
            for m in (40, 100)
            for n in (1, 2)
        ],
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def names(root: Path) -> list[Path]:
    return sorted(root.rglob("SOB_B_TA-14-16184-40-*.png"))


def test_the_validation_patients_have_as_many_images_as_published():
    assert IMAGES.keys() == VAL_PATIENTS
    assert sum(IMAGES.values()) == 339


def test_class_patient_and_split_come_from_the_name(root: Path):
    samples = BreakHis(str(root)).samples
    assert Counter((BreakHis.card.classes[s.target], s.group, s.split) for s in samples) == {
        ("TA", "16184", "train"): 2,
        ("TA", "16184CD", "val"): 2,
        ("MC", "18842", "train"): 2,
        ("MC", "18842D", "val"): 2,
        ("F", "9133", "train"): 2,
        ("DC", "13412", "train"): 2,
        ("DC", "2773", "val"): 2,
    }
    assert all("-40-" in s.id for s in samples)


def test_the_root_may_be_the_folder_itself(root: Path):
    assert BreakHis(str(root / "BreaKHis_v1")).fingerprint() == BreakHis(str(root)).fingerprint()


def test_a_missing_image_is_counted_with_its_class(root: Path, refusal):
    names(root)[0].unlink()
    assert "7 of 8 in train: 1 missing (TA 1, MC 2, F 2, DC 2)" in refusal(BreakHis, root)


def test_an_image_too_many_is_counted(root: Path, refusal):
    path = names(root)[0]
    path.with_name(path.name.replace("-001", "-777")).write_bytes(path.read_bytes())
    assert "9 of 8 in train: 1 extra" in refusal(BreakHis, root)


def test_duplicate_misnamed_and_empty_images_are_named(root: Path, refusal):
    first, second = names(root)
    (root / "BreaKHis_v1" / "again" / "40X").mkdir(parents=True)
    (root / "BreaKHis_v1" / "again" / "40X" / first.name).write_bytes(first.read_bytes())
    first.with_name("copy.png").write_bytes(first.read_bytes())
    second.write_bytes(b"")
    message = refusal(BreakHis, root)
    assert f"1 duplicate ({first.name})" in message
    assert "1 extra (" in message
    assert "copy.png)" in message
    assert second.name in message


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "BreaKHis_v1.tar.gz" in refusal(BreakHis, tmp_path / "nowhere")


def test_thunder_validates_on_patients_of_train_and_tests_on_those_of_val(root: Path):
    eva, thunder = ({s.id: s for s in BreakHis(str(root), splits=splits).samples} for splits in ("eva", "thunder"))
    assert Counter(s.split for s in thunder.values()) == THUNDER_COUNTS
    assert {s.group for s in thunder.values() if s.split == "val"} == {"18842", "13412"}
    assert {id for id, s in eva.items() if s.split == "val"} == {id for id, s in thunder.items() if s.split == "test"}
