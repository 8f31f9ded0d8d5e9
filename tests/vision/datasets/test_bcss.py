"""BCSS: names tell patient, institute and resolution; 22 codes in 6 classes."""

from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.datasets.bcss import SITES, Bcss
from tests.vision.datasets import trees

FIRST = "TCGA-A1-A0SK-DX1_xmin45751_ymin25055_MPP-0.2500.png"


COUNTS = {"train": 3, "val": 2, "test": 2}
"""What the tree holds, in place of the published counts."""


PATIENTS = ("A2-A0CM", "OL-A5D6", "A1-A0SK", "A2-A0T2", "E2-A14N", "BH-A0AV", "D8-A142")


def tree(root: Path) -> Path:
    for i, patient in enumerate(PATIENTS):
        name = f"TCGA-{patient}-DX1_xmin{45749 + i}_ymin25055_MPP-0.2500.png"
        trees.write_images(root / "rgbs_colorNormalized", [name])
        trees.write_labels(root / "masks" / name, trees.labels(i, range(22)))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "0_Public-data-Amgad2019_0.25MPP")


def test_institutes_decide_the_split(root: Path):
    samples = Bcss(str(root)).samples
    assert {s.site: s.split for s in samples} == {
        **dict.fromkeys(("A1", "BH"), "val"),
        **dict.fromkeys(("OL", "E2"), "test"),
        **dict.fromkeys(("A2", "D8"), "train"),
    }
    assert samples[0].id == FIRST
    assert (samples[0].group, samples[0].site, samples[0].mpp) == ("TCGA-A1-A0SK", "A1", 0.25)
    assert samples[0].label_path == root / "masks" / FIRST


def test_every_institute_of_the_published_split_is_known():
    sites = {"val": "BH C8 A8 A1 E9", "test": "OL LL E2 EW GM S3"}
    assert {split: set(names.split()) for split, names in sites.items()} == SITES


@pytest.mark.parametrize("place", ["..", ".", "rgbs_colorNormalized"])
def test_the_root_may_be_any_folder_on_the_way(root: Path, place: str):
    assert Bcss(str(root / place)).fingerprint() == Bcss(str(root)).fingerprint()


def test_codes_become_classes(root: Path):
    dataset = Bcss(str(root))
    stored = trees.labels(2, range(22))  # the tree's third
    names = np.array(dataset.card.classes)[dataset.mask(dataset.samples[0])]
    wanted = {0: "outside_roi", 1: "tumor", 19: "tumor", 20: "tumor", 2: "stroma", 4: "necrosis"}
    wanted |= dict.fromkeys((3, 10, 11), "inflammatory")
    assert all(set(names[stored == code]) == {wanted.get(code, "other")} for code in range(22))
    assert dataset.card.classes[dataset.card.background] == "outside_roi"
    assert dataset.instances(dataset.samples[0]) is None


def test_16_bit_masks_are_read_too(root: Path):
    dataset = Bcss(str(root))
    before = dataset.mask(dataset.samples[0])
    trees.write_labels(root / "masks" / FIRST, trees.labels(2, range(22)).astype(np.uint16))
    again = Bcss(str(root))
    assert np.array_equal(again.mask(again.samples[0]), before)


def test_files_without_their_twin_and_strange_names_are_named(root: Path, refusal):
    (root / "masks" / FIRST).unlink()
    trees.write_labels(root / "masks" / "TCGA-A2-A0CM-DX1_xmin1_ymin1_MPP-0.2500.png", np.zeros((8, 8), np.uint8))
    trees.write_images(root / "rgbs_colorNormalized", ["TCGA-A1-A0SK.png"])
    message = refusal(Bcss, root)
    assert f"3 missing (masks/{FIRST}, masks/TCGA-A1-A0SK.png, rgbs_colorNormalized/TCGA-A2-A0CM-DX1_xmin1" in message
    assert "1 extra (rgbs_colorNormalized/TCGA-A1-A0SK.png)" in message


def test_a_lost_pair_is_counted(root: Path, refusal):
    for kind in ("masks", "rgbs_colorNormalized"):
        (root / kind / FIRST).unlink()
    assert "1 of 2 in val: 1 missing" in refusal(Bcss, root)


def test_a_tiny_tree_is_refused_under_the_published_counts(root: Path, refusal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    message = refusal(Bcss, root)
    assert all(f"of {n} in {split}" in message for split, n in {"train": 76, "val": 30, "test": 45}.items())
    assert sum(Bcss.counts.values()) == 151


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((8, 8), 22, np.uint8), r"labels from 0 to 21 in .*, but got 22"),
        (np.zeros((8, 9), np.uint8), r"a mask of 8 x 8 as .* is 8 x 9"),
        (np.zeros((8, 8, 3), np.uint8), r"an image of colours \(RGB\)"),
    ],
)
def test_what_is_no_mask_is_named(root: Path, values: np.ndarray, reason: str):
    trees.write_labels(root / "masks" / FIRST, values)
    dataset = Bcss(str(root))
    with pytest.raises(EvaError, match=reason) as caught:
        dataset.mask(dataset.samples[0])
    assert FIRST in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_mask_is_named(root: Path):
    trees.write_labels(root / "masks" / FIRST, trees.labels(0, range(22), 400))
    file = root / "masks" / FIRST
    file.write_bytes(file.read_bytes()[:-200])
    dataset = Bcss(str(root))
    with pytest.raises(EvaError, match=rf"Expected a mask in .*{FIRST}, but it does not read"):
        dataset.mask(dataset.samples[0])


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "github.com/PathologyDataScience/BCSS" in refusal(Bcss, tmp_path)
