from dataclasses import replace
from pathlib import Path

import numpy as np

from eva_core.api import fit_job
from eva_core.classification.predictions import Predictions
from eva_core.commands.compare import compare
from eva_core.job import Job
from eva_core.results.record import read_results
from eva_core.task import task_named
from eva_vision.slide_level.classification.predictions import Grades, read_grades


def grades(shift: int, seed: int = 0) -> Grades:
    """Forty grades, those of every fourth sample off by so much."""
    rng = np.random.default_rng(seed)
    targets = np.arange(40) % 4
    predicted = np.where(np.arange(40) % 4 == 1, np.clip(targets + shift, 0, 3), targets)
    scores = np.eye(4)[predicted] * 0.9 + rng.uniform(0, 0.01, (40, 4))
    ids = [f"p{n:02d}" for n in range(40)]
    return Grades("test", ids, ids, targets, scores[None] / scores.sum(1)[None, :, None], None, tuple("0123"))


def test_models_are_compared_by_kappa():
    right, near, far = grades(0), grades(1), grades(2)
    worse = right.compare(far, "quadratic_kappa")
    assert worse.difference > right.compare(near, "quadratic_kappa").difference > 0
    assert worse.ci95[0] > 0
    assert worse.p < 0.05
    assert right.test(far, "quadratic_kappa") == (worse.difference, worse.p)
    assert right.test(right, "quadratic_kappa") == (0, 1)


def test_other_metrics_are_those_of_images():
    right, far = grades(0), grades(2)
    plain = Predictions(right.split, right.ids, right.groups, right.targets, right.scores, None, right.labels)
    assert right.compare(far, "accuracy") == plain.compare(far, "accuracy")
    assert right.test(far, "balanced_accuracy") == plain.test(far, "balanced_accuracy")


def test_finished_results_of_grades_are_compared(job: Job, tmp_path: Path):
    job.dataset.card = replace(job.dataset.card, ordinal=True)
    for name in ("one", "two"):
        fit_job(replace(job, output=tmp_path / name))
    results = read_results(tmp_path / "one")
    assert results["splits"]["cv"]["metrics"]["quadratic_kappa"]["mean"] > 0.9  # colours tell
    assert task_named("slide_classification").beside(results) == ["quadratic_kappa"]
    read = read_grades(tmp_path / "one", "cv")
    assert read.test(read_grades(tmp_path / "two", "cv"), "quadratic_kappa") == (0, 1)
    (sentence,) = compare([tmp_path / "one", tmp_path / "two"], "quadratic_kappa")
    assert "quadratic_kappa" in sentence
