"""OCELOT: pairs of region and mask by number, with slide and resolution in one list."""

import json
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.datasets.ocelot import Ocelot
from eva_vision.segmentation.contracts import IGNORE
from tests.vision.datasets import trees

COUNTS = {"train": 2, "val": 1, "test": 1}
"""What the tree holds, in place of the published counts."""
PLACES = {"001": "train", "002": "train", "401": "val", "538": "test"}
SLIDES = {"001": "TCGA-GK-A6C7-01Z-00-DX1", "002": "TCGA-DK-A3IT-01Z-00-DX1"}
LABELS = (1, 2, 255)


def tree(root: Path) -> Path:
    pairs = {}
    for i, (number, split) in enumerate(PLACES.items()):
        trees.write_images(root / "images" / split / "tissue", [f"{number}.jpg"])
        trees.write_images(root / "images" / split / "cell", [f"{number}.jpg"])
        trees.write_labels(root / "annotations" / split / "tissue" / f"{number}.png", trees.labels(i, LABELS))
        slide = SLIDES.get(number, f"TCGA-XX-A{number}-01Z-00-DX1")
        pairs[number] = {"slide_name": slide, "subset": split, "tissue": {"resized_mpp_x": 0.8}}
    (root / "metadata.json").write_text(json.dumps({"sample_pairs": pairs}))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "ocelot2023_v1.0.1")


@pytest.mark.parametrize("place", ["..", ".", "images"])
def test_regions_by_number_with_patient_and_resolution(root: Path, place: str):
    samples = Ocelot(str(root / place)).samples
    assert {s.id: s.split for s in samples} == PLACES
    assert (samples[0].group, samples[0].site, samples[0].mpp) == ("TCGA-GK-A6C7", "GK", 0.8)
    assert samples[0].path.samefile(root / "images/train/tissue/001.jpg")
    assert samples[0].label_path.samefile(root / "annotations/train/tissue/001.png")


def test_what_was_not_annotated_is_ignored(root: Path):
    dataset = Ocelot(str(root))
    mask, stored = dataset.mask(dataset.samples[0]), trees.labels(0, LABELS)
    assert [set(mask[stored == label]) for label in LABELS] == [{0}, {1}, {IGNORE}]
    assert dataset.instances(dataset.samples[0]) is None


def test_what_lacks_its_twin_or_its_slide_is_named(root: Path, refusal):
    (root / "annotations/train/tissue/001.png").unlink()
    (root / "images/val/tissue/401.jpg").unlink()
    assert "1 missing (annotations/train/tissue/001.png)" in refusal(Ocelot, root)
    tree(root)
    (root / "images/val/tissue/401.jpg").unlink()
    assert "1 missing (images/val/tissue/401.jpg)" in refusal(Ocelot, root)
    tree(root)
    notes = json.loads((root / "metadata.json").read_text())
    del notes["sample_pairs"]["538"]
    (root / "metadata.json").write_text(json.dumps(notes))
    assert "1 missing (538 in metadata.json)" in refusal(Ocelot, root)


def test_an_empty_file_is_named_beside_its_whole_twin(root: Path, refusal):
    (root / "images/test/tissue/538.jpg").write_bytes(b"")
    assert "1 empty (images/test/tissue/538.jpg)" in refusal(Ocelot, root)


@pytest.mark.parametrize("text", ["{", "[]", '{"sample_pairs": {"001": {"slide_name": "a"}}}', '{"sample_pairs": 1}'])
def test_a_list_of_another_form_is_told(root: Path, text: str, refusal):
    (root / "metadata.json").write_text(text)
    assert "Expected sample_pairs with slide_name and tissue.resized_mpp_x" in refusal(Ocelot, root)


def test_a_missing_list_and_a_missing_pair_are_told(root: Path, refusal):
    for kind, end in (("images", "jpg"), ("annotations", "png")):
        (root / f"{kind}/train/tissue/002.{end}").unlink()
    assert "1 of 2 in train: 1 missing" in refusal(Ocelot, root)
    (root / "metadata.json").unlink()
    assert "metadata.json, but it does not exist" in refusal(Ocelot, root)


def test_a_tiny_tree_is_refused_under_the_published_counts(root: Path, refusal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    message = refusal(Ocelot, root)
    assert all(f"of {n} in {split}" in message for split, n in {"train": 400, "val": 137, "test": 126}.items())


def test_a_strange_label_and_a_cut_file_are_named(root: Path):
    first = root / "annotations/train/tissue/001.png"
    trees.write_labels(first, np.full((8, 8), 3, np.uint8))
    dataset = Ocelot(str(root))
    with pytest.raises(EvaError, match=r"labels from 0 to 2, or 255 to ignore, in .*001\.png, but got 3"):
        dataset.mask(dataset.samples[0])
    first.write_bytes(first.read_bytes()[:40])
    with pytest.raises(EvaError, match=r"Expected a mask in .*001\.png, but it does not read"):
        dataset.mask(dataset.samples[0])


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "zenodo.org/records/8417503" in refusal(Ocelot, tmp_path)
