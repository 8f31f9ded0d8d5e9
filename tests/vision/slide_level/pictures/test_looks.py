from dataclasses import replace

import numpy as np
import torch

from eva_core import registry
from eva_core.job import Job
from eva_core.task import task_named
from eva_vision.slide_level.bags.bag_store import BagStore
from eva_vision.slide_level.bags.stored_bags import StoredBags
from eva_vision.slide_level.contracts import BagData
from eva_vision.slide_level.heads.abmil import Abmil
from eva_vision.slide_level.pictures.looks import look


def stored(job: Job) -> BagStore:
    task = task_named("slide_classification")
    return task.extract(task.key(job), job, lambda line: None)


def runs(job: Job, store: BagStore, name: str) -> tuple:
    head, rows = registry.heads.build(name), np.arange(len(store.ids))
    bags, section = StoredBags(store, rows), job.resolved.section
    outcome = task_named("slide_classification").scoring().outcome(job.dataset.card)  # type: ignore[attr-defined]
    data = BagData(bags, bags, outcome, head.runs(job.protocol, section), section)
    return head, [run.params for run in head.fit(data, job.protocol)], bags


def test_attention_is_the_mean_over_runs_in_units_of_the_average(job: Job):
    store = stored(job)
    head, params, bags = runs(job, store, "abmil")
    seen = look(store, 0, head, params)
    assert seen is not None
    assert seen.attention is not None
    x = bags.read(0)
    assert set(seen.bag.tolist()) == set(store.bags_of(0))  # both slides of the first patient
    expected = torch.stack([head.attention(p, x) for p in params]).mean(0) * len(x)
    assert np.allclose(seen.attention, expected)
    assert np.isclose(seen.attention.mean(), 1, atol=1e-5)
    assert seen.outputs.shape == (len(params), len(x), 1)


def test_what_a_linear_head_says_of_patches_adds_up_to_what_it_says_of_the_sample(job: Job):
    store = stored(job)
    head, params, bags = runs(job, store, "mean_logreg")
    seen = look(store, 3, head, params)
    assert seen is not None
    assert seen.attention is None
    assert np.allclose(seen.outputs.mean(1), head.outputs(params[0], bags)[3].numpy(), atol=1e-4)
    assert len(seen.coords) == seen.outputs.shape[1]


def test_neighbours_of_means_see_no_patches(job: Job):
    store = stored(job)
    head, params, _ = runs(job, store, "mean_knn")
    assert look(store, 0, head, params) is None


def test_a_head_of_a_third_party_without_attention_is_asked_nothing_else(job: Job):
    class Blind(Abmil):
        def attention(self, params: dict, x: torch.Tensor) -> None:  # type: ignore[override]
            return None

    store = stored(replace(job))
    _, params, _ = runs(job, store, "abmil")
    assert look(store, 0, Blind(), params) is None
