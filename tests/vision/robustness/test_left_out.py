import numpy as np
import pytest

from eva_core.api import extract_job
from eva_core.classification.evaluation import fit_head
from eva_core.commands.predict import jobs_of
from eva_core.config.jobs import with_head
from eva_core.store.store import Store
from eva_vision.robustness import left_out as module
from eva_vision.robustness.left_out import left_out
from tests.vision.robustness.example import planted


@pytest.fixture
def made(words):
    """A job with the head knn, and its store."""
    job = with_head(jobs_of([*words, "--model", "colour_stats"])[0], "knn")
    return job, Store(extract_job(job))


def relabelled(store: Store, pull: float, label: int | None = None) -> Store:
    """The store with planted embeddings and labels of two classes, three sites and four slides of each."""
    x, labels = planted(n=len(store.ids), classes=2, pull=pull, dim=6)
    store.targets, store.readable = labels.classes.astype(np.int64), np.ones(len(x), bool)
    store.sites = np.array(["A", "B", "C"])[labels.sites]
    store.groups = np.array([f"s{group}" for group in labels.groups])
    store.splits = np.full(len(x), "train")
    if label is not None:
        store.targets[store.sites != "C"] = label
    store.read = lambda rows, what="embeddings": x[rows]
    return store


def test_each_site_is_scored_by_the_others(made):
    job, store = made
    good, bad = (left_out(job, relabelled(store, pull)) for pull in (0.0, 8.0))
    assert list(good["sites"]) == ["A", "B", "C"]
    assert sum(score["n"] for score in good["sites"].values()) == len(store.ids)
    assert good["mean"] > 0.8 > bad["mean"]
    values = {site: score["value"] for site, score in bad["sites"].items()}
    assert bad["worst"] == min(values, key=values.get)
    assert bad["spread"] == pytest.approx(max(values.values()) - min(values.values()))
    assert all(low <= score["value"] <= high for score in bad["sites"].values() for low, high in [score["ci95"]])
    assert "selection" not in good["protocol"]  # strict holds out anyway


def test_no_group_of_the_site_is_learnt_from(made, monkeypatch: pytest.MonkeyPatch):
    job, store = made
    store = relabelled(store, 1.0)
    store.groups[:12] = "everywhere"  # at all sites
    plans = []

    def fit(job, store, plan, what):
        plans.append(plan)
        return fit_head(job, store, plan, what)

    monkeypatch.setattr(module, "fit_head", fit)
    left_out(job, store)
    assert len(plans) == 3
    for plan in plans:
        learnt = np.concatenate([plan.train, plan.select])
        assert "everywhere" not in store.groups[learnt]
        assert set(store.groups[plan.train]).isdisjoint(store.groups[plan.select])
        assert len(set(store.sites[learnt])) == 2


def test_a_class_at_one_site_and_sites_that_cannot_be_learnt_from_are_told(made):
    job, store = made
    found = left_out(job, relabelled(store, 0.0, label=0))["sites"]
    assert found["C"]["value"] is None
    assert found["C"]["reason"] == "the other sites have too few classes or groups to learn from"
    assert found["A"]["value"] is not None
    store = relabelled(store, 0.0)
    store.targets[store.sites == "A"] = 0
    store.targets[(store.sites == "B")] = 0
    assert left_out(job, store)["worst"] in ("A", "B")
