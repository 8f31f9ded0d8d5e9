import numpy as np
import pytest

from eva_vision.datasets.pathorob_schedules import camelyon
from eva_vision.robustness.contracts import Benchmark
from eva_vision.robustness.drops import NOTHING, drops
from tests.vision.robustness.example import planted, stored

pytestmark = pytest.mark.usefixtures("few_cs")


def test_a_model_that_follows_the_site_loses_more_on_the_same_sites_and_on_others():
    found = []
    for pull in (0.0, 6.0):
        x, labels = planted(n=360, classes=2, sites=3, slides=4, dim=8, pull=pull)
        found.append(drops(stored(x, labels), Benchmark(), 2))
    robust, fragile = (one["values"] for one in found)
    assert fragile["apd_in"]["value"] < robust["apd_in"]["value"] - 0.05
    assert fragile["nipd_in"]["value"] < robust["nipd_in"]["value"]
    assert robust["apd_out"]["value"] > -0.05  # the third site takes no part in two classes
    assert found[0]["v"] == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.05)
    assert not found[0]["published_sets"]


def test_sites_of_another_split_are_out_of_distribution():
    x, labels = planted(n=480, classes=2, sites=3, slides=4)
    store = stored(x, labels)
    store.splits = np.where(store.sites == "C", "test", "train")
    assert set(drops(store, Benchmark(home="train"), 1)["accuracy"]) == {"in", "out"}
    store.readable = store.sites != "C"
    assert set(drops(store, Benchmark(home="train"), 1)["accuracy"]) == {"in"}


def test_why_there_is_none():
    x, labels = planted(n=480, classes=2, sites=3, slides=1)
    assert drops(stored(x, labels), Benchmark(), 1) == NOTHING
    assert "other sites or classes than A, B, C" in drops(stored(x, labels), Benchmark(schedule=camelyon()), 1)
    x, labels = planted(n=480, classes=2, sites=2)
    assert drops(stored(x, labels), Benchmark(schedule=camelyon()), 1) == (
        "no APD: Expected groups of each class that can be held out"
    )
