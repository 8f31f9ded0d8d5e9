from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.metric import Metric
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.evaluation.splits import Plan, cost, make_plan, refuse_unfit, reported_splits, summary
from tests.conftest import Pictures

CARD = DatasetCard("d", classes=("a", "b"))
STRICT = Protocol("p", selection="holdout", holdout=0.25)


@dataclass
class Kept:
    """A store of twelve samples in memory: eight of train in four groups."""

    splits: np.ndarray = field(default_factory=lambda: np.array(["train"] * 8 + ["val"] * 2 + ["test"] * 2, object))
    groups: np.ndarray = field(default_factory=lambda: np.array(list("ppqqrrssvvtt"), object))
    targets: np.ndarray = field(default_factory=lambda: np.arange(12) % 2)
    imported: bool = False

    def __post_init__(self) -> None:
        self.ids = np.array([f"s{i}" for i in range(len(self.splits))], object)
        self.readable = np.ones(len(self.splits), bool)
        self.attributes = {"embed_s": 3, "images_per_s": 4}

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.splits == split)


def test_the_held_out_splits_are_reported_and_what_is_missing_is_named():
    assert reported_splits(["test", "train", "new"], CARD) == ("test",)
    assert reported_splits(["test", "train", "val"], CARD) == ("val", "test")
    with pytest.raises(UsageError, match="Expected a train split in dataset 'd', but it has test"):
        reported_splits(["test"], CARD)
    with pytest.raises(UsageError, match="Expected a val or test split in dataset 'd', but it has new, train"):
        reported_splits(["train", "new"], CARD)


def test_val_selects_and_test_is_the_main_split():
    plan = make_plan(Kept(), Protocol("p", selection="heldout"), CARD)
    assert (plan.train.tolist(), plan.select.tolist()) == (list(range(8)), [8, 9])
    assert (plan.reported, plan.main, plan.selection) == (("val", "test"), "test", "val")
    alone = make_plan(Kept(), Protocol("p", selection="heldout"), replace(CARD, main_split="val"))
    assert (alone.main, alone.selection) == ("val", "val, which is also reported: optimistic")
    with pytest.raises(UsageError, match="Expected a val split in dataset 'd', but it has test"):
        make_plan(Kept(splits=np.array(["train"] * 8 + ["test"] * 4, object)), STRICT, replace(CARD, main_split="val"))


@pytest.mark.parametrize("seed", range(5))
def test_a_hold_out_takes_whole_groups_of_train(seed: int):
    store = Kept()
    plan = make_plan(store, replace(STRICT, seed=seed), CARD, stratified=True)
    assert sorted([*plan.train, *plan.select]) == list(range(8))
    assert not set(store.groups[plan.train]) & set(store.groups[plan.select])
    assert len(plan.select) == 2
    assert (plan.selected_on, plan.selection) == ("holdout", "25% of train, held out by group")


def test_a_single_group_cannot_be_held_out():
    with pytest.raises(UsageError, match=r"of which some can be held out, but it has 1\. .*--protocol eva-0\.4"):
        make_plan(Kept(groups=np.array(["p"] * 12, object)), STRICT, CARD)
    with pytest.raises(UsageError, match="imported embeddings have neither"):
        make_plan(Kept(groups=np.array([""] * 12, object), imported=True), STRICT, CARD)


def test_a_summary_says_what_the_main_score_is_and_how_it_was_chosen():
    plan = Plan(np.arange(2), np.arange(1), ("val", "test"), "test", "val", "val")
    scores = {"mean": 0.5, "std": 0.1, "ci95": [0.4, 0.6], "values": [0.5]}
    splits = {"test": {"metrics": {"mae": scores}}, "val": {}}
    found = summary(plan, splits, "mae", Metric(higher_is_better=False))
    assert found["main"]["higher_is_better"] is False
    assert {k: found["main"][k] for k in ("split", "metric", "mean", "ci95", "selected_on")} == {
        **{"split": "test", "metric": "mae", "mean": 0.5, "ci95": [0.4, 0.6], "selected_on": "val"}
    }
    assert "values" not in found["main"]
    assert cost(Kept(), 2.5) == {"embed_s": 3.0, "images_per_s": 4.0, "fit_s": 2.5}


def test_what_cannot_be_learnt_from_is_refused():
    refuse_unfit(Pictures(), [], "class")
    with pytest.raises(UsageError, match=r"Expected a class for every image, but 2 have none, first 's001'"):
        refuse_unfit(Pictures(), ["s001", "s002"], "class")
    with pytest.raises(UsageError, match="Expected a train split"):
        refuse_unfit(SimpleNamespace(samples=Pictures(splits=("test",)).samples, card=CARD), [], "class")
