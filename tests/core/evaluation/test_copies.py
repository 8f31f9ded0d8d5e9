from dataclasses import dataclass

import numpy as np
import pytest

from eva_core.evaluation import copies
from eva_core.evaluation.copies import turned_copies_across
from eva_core.evaluation.splits import Plan
from eva_core.extraction.pixels import signature

PLAN = Plan(np.arange(2), np.arange(0), ("val", "test"), "test", "val", "val")


def blot(seed: int) -> np.ndarray:
    """A picture that no other looks like, uint8 (64, 64, 3)."""
    y, x = np.mgrid[:64, :64] / 64
    rng = np.random.default_rng(seed)
    waves = sum(
        np.sin(2 * np.pi * (rng.uniform(-3, 3) * x + rng.uniform(-3, 3) * y) + rng.uniform(0, 6)) for _ in range(6)
    )
    return np.repeat((127 + 20 * waves)[..., None], 3, 2).clip(0, 255).astype(np.uint8)


@dataclass
class Kept:
    """Two images of train, one of val, two of test: the last is the first, turned."""

    imported: bool = False
    group: str = ""

    def __post_init__(self) -> None:
        images = [*map(blot, range(4)), np.rot90(blot(0))]
        self.thumbnails = np.stack([signature(np.ascontiguousarray(image)) for image in images])
        self.splits = np.array(["train", "train", "val", "test", "test"], object)
        self.groups = np.array([self.group] * 5, object)

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.splits == split)

    def signatures(self, rows: np.ndarray) -> np.ndarray:
        return self.thumbnails[rows]


def test_a_turned_copy_of_train_is_counted_in_its_split():
    assert turned_copies_across(Kept(), PLAN) == {"test": 1}


def test_copies_on_one_side_do_not_count():
    store = Kept()
    store.splits[4] = "train"
    assert turned_copies_across(store, PLAN) == {}


def test_nobody_looks_where_groups_are_known_or_images_are_not(monkeypatch: pytest.MonkeyPatch):
    assert turned_copies_across(Kept(group="p"), PLAN) is None
    assert turned_copies_across(Kept(imported=True), PLAN) is None
    monkeypatch.setattr(copies, "LOOKED_THROUGH", 4)
    assert turned_copies_across(Kept(), PLAN) is None
