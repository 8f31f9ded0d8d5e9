from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva_core.commands.predict import job_of_result
from eva_core.errors import EvaError, UsageError
from eva_core.job import Job
from eva_vision.datasets.folder import Folder
from eva_vision.shifts.contracts import ChangeCard, Shift, change
from eva_vision.shifts.recording import jpeg, white_balance
from eva_vision.shifts.shifted import Shifted
from eva_vision.shifts.study import Question, question_of, refuse_other_images, study
from tests.core import scored


@change(ChangeCard("nothing", (0.0,)))
def nothing(image: np.ndarray, strength: float) -> np.ndarray:
    return image if strength == 0 else image.copy()


GRID = {
    "nothing": [Shift("nothing", nothing, 0.0)],
    "white_balance": [Shift("white_balance", white_balance, 0.8)],
}


def job(folder: Path) -> Job:
    return job_of_result(folder, ["--workers", "0"])


@pytest.fixture
def question(fitted: Path) -> Question:
    return question_of(fitted, job)


def test_what_heads_decide_under_shifts(question: Question, monkeypatch: pytest.MonkeyPatch):
    lines: list[str] = []
    (entry,) = study([question], GRID, lines.append)["models"]
    assert entry["clean"]["balanced_accuracy"]["mean"] == pytest.approx(entry["score_of_result"])
    same, red = entry["shifts"]
    assert same["flipped"]["images"]["mean"] == same["difference"]["difference"] == 0
    assert same["scores"] == entry["clean"]
    assert same["cosine"]["mean"] == pytest.approx(1)
    assert red["scores"]["balanced_accuracy"]["mean"] == pytest.approx(0.5)  # one class for all
    assert red["drop"]
    assert entry["holds"]["white_balance"] == [{"side": "", "until": None, "first": 0.8, "tried": 0.8}]
    assert (entry["n"], entry["n_groups"]) == (60, 20)

    def never(*_: object, **__: object) -> None:
        pytest.fail("extracted again")

    monkeypatch.setattr(Shifted, "image", never)
    monkeypatch.setattr(Folder, "image", never)
    again = study([question, question], {"nothing": GRID["nothing"]}, lines.append)
    assert [model["shifts"] for model in again["models"]] == [[same]] * 2
    assert [(pair["a"], pair["b"], pair["difference"]) for pair in again["between"]] == [(0, 1, 0.0)]


def test_another_preprocessing_than_that_of_the_heads_is_refused(question: Question):
    geometry = replace(question.job.card.geometry, resize=64)
    other = replace(question.job, protocol=replace(question.job.protocol, geometry=geometry))
    with pytest.raises(UsageError, match="Expected preprocess"):
        study([replace(question, job=other)], GRID, print)


def test_results_of_other_images_or_kinds_are_refused(question: Question, tmp_path: Path):
    fewer = question_of(question.folder, job)
    fewer.job.dataset.samples = fewer.job.dataset.samples[1:]
    with pytest.raises(UsageError, match="same images and metric"):
        refuse_other_images([question, fewer])
    other = scored.segmentation(tmp_path / "masks", scored.dice(0), "m")
    with pytest.raises(UsageError, match="of segmentation"):
        question_of(other, job)


def test_images_that_read_only_without_the_change_are_an_error(question: Question, monkeypatch: pytest.MonkeyPatch):
    def broken(self: Shifted, sample: Any) -> np.ndarray:
        raise OSError("no")

    monkeypatch.setattr(Shifted, "image", broken)
    with pytest.raises(EvaError, match="Cannot read image"):
        study([question], {"jpeg": [Shift("jpeg", jpeg, 11.0)]}, print)
    skipping = replace(question, job=replace(question.job, how=replace(question.job.how, on_error="skip")))
    with pytest.raises(EvaError, match="same readable images under jpeg"):
        study([skipping], {"jpeg": [Shift("jpeg", jpeg, 12.0)]}, print)
