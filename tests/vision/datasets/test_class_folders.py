"""Folders of classes: what is listed and refused, and draws that are the same everywhere."""

import os
import random
from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_vision.datasets.class_folders import ClassImage, class_images, fifth
from tests.vision.datasets import trees


def test_images_come_class_by_class_and_by_name(tmp_path: Path):
    trees.write_images(tmp_path, ["b/2.png", "b/10.png", "a/1.tif", "c/x.png"])
    (tmp_path / "c/x.png").rename(tmp_path / "c/x.JPG")
    images = class_images(tmp_path, ("c", "a", "b"))
    assert [(image.path, image.target) for image in images] == [
        ("c/x.JPG", 0),
        ("a/1.tif", 1),
        ("b/10.png", 2),
        ("b/2.png", 2),
    ]
    assert images[1] == ClassImage("a/1.tif", 1, (tmp_path / "a/1.tif").stat().st_size)


@pytest.mark.parametrize("path", ["loose.png", "d/1.png", "a/deep/1.png"])
def test_what_is_in_no_folder_of_a_class_is_named(tmp_path: Path, path: str):
    trees.write_images(tmp_path, ["a/1.png", path])
    with pytest.raises(UsageError, match=rf"1 extra \({path}\)"):
        class_images(tmp_path, ("a", "b"))


def test_folders_of_slides_are_a_part_more(tmp_path: Path):
    trees.write_images(tmp_path, ["a/slide/1.png"])
    assert class_images(tmp_path, ("a",), depth=2)[0].path == "a/slide/1.png"
    (tmp_path / "a/slide/1.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"1 empty \(a/slide/1.png\)"):
        class_images(tmp_path, ("a",), depth=2)


def test_each_folder_is_read_once_and_no_image_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trees.write_images(tmp_path, [f"{label}/{i}.png" for label in "ab" for i in range(5)])
    listed, asked, scandir, stat = [], [], os.scandir, os.stat
    monkeypatch.setattr("os.scandir", lambda path: listed.append(path) or scandir(path))
    monkeypatch.setattr("os.stat", lambda path, **more: asked.append(str(path)) or stat(path, **more))
    assert len(class_images(tmp_path, ("a", "b"))) == 10
    assert len(listed) == 3
    assert not [path for path in asked if path.endswith(".png")]


def test_a_fifth_is_drawn_by_the_order_in_which_groups_come_first():
    groups = [f"p{i}" for i in range(14)]
    # random.seed(0); random.sample(groups, int(0.2 * 14)) of CPython 3.11 to 3.14
    assert fifth(groups, random.Random(0)) == {"p13", "p6"}
    assert fifth([*groups, *reversed(groups)], random.Random(0)) == {"p13", "p6"}
    assert fifth(groups[:4], random.Random(0)) == set()
