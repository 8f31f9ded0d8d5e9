"""SPIDER: the official test, and a fifth of the slides of train for val."""

from collections import Counter
from pathlib import Path

import pytest

from eva_core import registry
from eva_vision.datasets.spider import SpiderBreast, SpiderThorax
from tests.vision.datasets import trees

SLIDES = ("slide_0001", "slide_0002", "slide_0003", "slide_0021", "slide_0048")
COUNTS = {"train": 96, "val": 24, "test": 24}
"""What the tree of each organ holds, in place of the published counts."""
NAMES = ("spider_breast", "spider_colorectal", "spider_skin", "spider_thorax")


def tree(root: Path, name: str) -> Path:
    """Five slides of train and one of test, each with 24 patches of all classes."""
    classes = registry.datasets.load(name).card.classes
    names = [
        f"center_crop/{part}/{classes[n % len(classes)]}/{slide}/{slide}_{n}.png"
        for part, slides in (("train", SLIDES), ("test", ("slide_0900",)))
        for slide in slides
        for n in range(24)
    ]
    return trees.write_images(root, names)


@pytest.mark.parametrize("name", NAMES)
def test_slides_keep_to_one_split(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    dataset = registry.datasets.build(name, root=str(tree(tmp_path, name)))
    classes = dataset.card.classes
    assert Counter(s.split for s in dataset.samples) == COUNTS
    assert {s.group for s in dataset.samples if s.split == "test"} == {"slide_0900"}
    # random.seed(0), then random.sample(sorted slides, int(0.2 * 5)), by CPython 3.11
    assert {s.group for s in dataset.samples if s.split == "val"} == {
        "slide_0048" if name == "spider_thorax" else "slide_0021"
    }
    sample = next(s for s in dataset.samples if s.id == f"train/{classes[2]}/slide_0002/slide_0002_2.png")
    assert (sample.target, sample.group, sample.split) == (2, "slide_0002", "train")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", [".", "center_crop"])
def test_the_root_may_be_any_folder_on_the_way(tmp_path: Path, place: str):
    root = tree(tmp_path, "spider_thorax")
    assert SpiderThorax(str(root / place)).fingerprint() == SpiderThorax(str(root)).fingerprint()


def test_missing_and_misplaced_patches_are_refused(tmp_path: Path, refusal):
    folder = tree(tmp_path, "spider_breast") / "center_crop"
    (folder / "train/Fat/slide_0001/slide_0001_4.png").unlink()
    assert "119 of 120 in train and val: 1 missing" in refusal(SpiderBreast, tmp_path)
    trees.write_images(folder / "test", ["Fat/slide.png"])
    assert "1 extra (Fat/slide.png)" in refusal(SpiderBreast, tmp_path)


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    message = refusal(SpiderThorax, tmp_path)
    assert "https://huggingface.co/datasets/histai/SPIDER-thorax" in message
    assert "cat spider-thorax.tar.*" in message
