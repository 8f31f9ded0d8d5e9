"""Gleason: the array decides the split, the name everything else."""

from collections import Counter
from pathlib import Path

import pytest

from eva_vision.datasets.gleason import Gleason
from tests.vision.datasets import trees

TRAIN, TEST = "train_validation_patches_750", "test_patches_750/patho_1"


COUNTS = {"train": 12, "val": 4, "test": 1}
"""What the tree holds, in place of the published counts."""


def tree(root: Path) -> Path:
    cores = ("ZT76_39_A_1_2", "ZT111_4_A_1_12", "ZT199_1_A_2_5", "ZT204_6_B_7_8")
    paths = [f"train_validation_patches_750/{c}/{c}_patch_{k}_class_{k}.jpg" for c in cores for k in range(4)]
    paths += [f"test_patches_750/patho_{p}/{c}/{c}_patch_18_class_1.jpg" for p in (1, 2) for c in ("ZT80_38_A_1_2",)]
    return trees.write_images(root, paths)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_array_core_and_class_come_from_the_name(root: Path):
    samples = {s.id: s for s in Gleason(str(root)).samples}
    assert Counter(s.split for s in samples.values()) == {"train": 12, "val": 4, "test": 1}
    sample = samples["ZT204_6_B_7_8_patch_3_class_3.jpg"]
    assert (sample.split, sample.target, sample.group) == ("train", 3, "ZT204_6_B_7_8")
    assert samples["ZT76_39_A_1_2_patch_0_class_0.jpg"].split == "val"
    assert samples["ZT80_38_A_1_2_patch_18_class_1.jpg"].split == "test"


def test_the_second_pathologist_is_left_out(root: Path):
    assert "patho_2" not in {part for s in Gleason(str(root)).samples for part in s.path.parts}


@pytest.mark.parametrize(
    "path",
    [
        f"{TRAIN}/ZT80_1_A_1_1/ZT80_1_A_1_1_patch_1_class_1.jpg",  # a test array among train
        f"{TEST}/ZT76_1_A_1_1/ZT76_1_A_1_1_patch_1_class_1.jpg",  # the val array among test
        f"{TRAIN}/ZT111_4_A_1_12/ZT111_4_A_1_12_patch_1_class_4.jpg",
        f"{TRAIN}/ZT111_4_A_1_12/ZT111_4_A_1_12_patch_1_class_1 copy.jpg",
    ],
)
def test_misplaced_and_misnamed_patches_are_named(root: Path, refusal, path: str):
    trees.write_images(root, [path])
    message = refusal(Gleason, root)
    assert "1 extra" in message
    assert Path(path).name in message


def test_duplicate_and_empty_patches_are_named(root: Path, refusal):
    trees.write_images(root, [f"{TRAIN}/again/ZT111_4_A_1_12_patch_1_class_1.jpg"])
    (root / TRAIN / "ZT76_39_A_1_2" / "ZT76_39_A_1_2_patch_0_class_0.jpg").write_bytes(b"")
    message = refusal(Gleason, root)
    assert "1 duplicate (ZT111_4_A_1_12_patch_1_class_1.jpg)" in message
    assert "1 empty (ZT76_39_A_1_2/ZT76_39_A_1_2_patch_0_class_0.jpg)" in message


def test_a_missing_patch_is_counted_with_its_class(root: Path, refusal):
    (root / TRAIN / "ZT76_39_A_1_2" / "ZT76_39_A_1_2_patch_2_class_2.jpg").unlink()
    assert "3 of 4 in val: 1 missing (benign 1, gleason_3 1, gleason_4 0, gleason_5 1)" in refusal(Gleason, root)


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "OCYCMP" in refusal(Gleason, tmp_path)
