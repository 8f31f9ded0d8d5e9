from dataclasses import replace
from pathlib import Path

import pytest

from eva_core.api import fit_job
from eva_core.commands.compare import compare
from eva_core.errors import UsageError
from eva_core.job import Job
from eva_core.results.record import read_results
from eva_core.task import task_named


def test_one_class_teaches_nothing(job: Job):
    job.dataset.card = replace(job.dataset.card, classes=("a",))
    with pytest.raises(UsageError, match="at least 2 classes"):
        task_named("slide_classification").check(job)


def test_targets_are_numbers_of_classes(job: Job):
    job.dataset.samples = [replace(job.dataset.samples[0], target=7), *job.dataset.samples[1:]]
    with pytest.raises(UsageError, match="whole numbers from 0 to 1"):
        task_named("slide_classification").check_targets(job.dataset)


def test_chance_depends_on_the_number_of_classes(job: Job):
    assert task_named("slide_classification").metrics(job.dataset.card)["balanced_accuracy"].chance == 0.5


def test_finished_results_of_grades_are_compared(job: Job, tmp_path: Path):
    job.dataset.card = replace(job.dataset.card, ordinal=True)
    for name in ("one", "two"):
        fit_job(replace(job, output=tmp_path / name))
    results = read_results(tmp_path / "one")
    assert results["splits"]["cv"]["metrics"]["quadratic_kappa"]["mean"] > 0.9  # colours tell
    assert task_named("slide_classification").beside(results) == ["quadratic_kappa"]
    (sentence,) = compare([tmp_path / "one", tmp_path / "two"], "quadratic_kappa")
    assert "quadratic_kappa" in sentence
