from dataclasses import replace
from pathlib import Path

from eva_core.config.jobs import job_of
from eva_core.evaluation.reached_mpp import reached_mpp
from eva_core.extraction.settings import Extraction
from eva_core.task import task_named
from tests.conftest import Pictures


def test_what_reaches_the_model_is_the_mpp_of_the_file_by_the_resize(tmp_path: Path):
    dataset = Pictures()
    job = job_of("colour_stats", dataset, how=Extraction(device="cpu", workers=0), output=tmp_path)
    task = task_named("classification")
    store = task.extract(task.key(job), job, lambda line: None)
    assert reached_mpp(job, store, "train") == {"native": None, "reached": None}
    dataset.card = replace(dataset.card, mpp=0.5)
    side = dataset.image(dataset.samples[0]).shape[0]
    assert reached_mpp(job, store, "train") == {"native": 0.5, "reached": 0.5 * side / 224}
