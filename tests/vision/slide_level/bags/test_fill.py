from dataclasses import replace

import numpy as np
import pytest
import torch

from eva_core import registry
from eva_core.config.jobs import job_of
from eva_core.job import Job
from eva_core.task import task_named
from eva_vision.slide_level.bags.bag_files import read_rows
from eva_vision.slide_level.bags.bag_key import bag_key
from eva_vision.slide_level.bags.fill import Model, stage
from eva_vision.slide_level.bags.places import Places

TINY = {"arch": "test_vit", "size": 32}


def others(job: Job) -> list[Job]:
    """The job, and the same of two models that see pixels otherwise."""
    named = [registry.models.build("timm_model", mean=[m] * 3, **TINY) for m in (0.5, 0.7)]
    jobs = [job, *(job_of(model, job.dataset, "mean_logreg", job.protocol, job.how) for model in named)]
    return [replace(j, model=f"m{n}") for n, j in enumerate(jobs)]


def test_several_models_read_each_patch_once_and_have_the_bags_of_each_alone(
    job: Job, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    task, jobs, reads = task_named("slide_classification"), others(job), []
    alone = [[read_rows(path) for path in task.extract(task.key(j), j, print).paths] for j in jobs]
    monkeypatch.setenv("EVA_CACHE", str(tmp_path_factory.mktemp("together")))
    read = Places.read
    monkeypatch.setattr(Places, "read", lambda *a: (reads.extend(a[2]), read(*a))[1])
    stores = task.extract_all(jobs, print)
    assert len(reads) == sum(stores[0].counts) == 72
    for store, before in zip(stores, alone, strict=True):
        assert all(np.array_equal(read_rows(path), bag) for path, bag in zip(store.paths, before, strict=True))


def test_each_model_computes_in_its_own_precision(job: Job):
    half = replace(job.protocol, precision="bf16")
    model = Model(bag_key(job.backbone, half, job.resolved.section), job.backbone, half, job.model)
    with model.autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    full = replace(model, protocol=replace(half, precision="fp32"))
    with full.autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert stage([model, full]) == "colour_stats and colour_stats on slides"
