from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva_core import api
from eva_core.config.jobs import job_of
from eva_core.errors import EvaError, UsageError
from eva_core.job import Job
from eva_vision.shifts.contracts import ChangeCard, Shift, change
from eva_vision.shifts.recording import jpeg, white_balance
from eva_vision.shifts.shifted import Shifted
from eva_vision.shifts.study import question_of, refuse_other_images, study
from tests.conftest import Pictures
from tests.core import scored


@change(ChangeCard("nothing", (0.0,)))
def nothing(image: np.ndarray, strength: float) -> np.ndarray:
    return image if strength == 0 else image.copy()


GRID = {
    "nothing": [Shift("nothing", nothing, 0.0)],
    "white_balance": [Shift("white_balance", white_balance, 0.8)],
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("fit") / "out"
        api.fit_job(job(folder), print)
    return folder


def job(output: Path | None = None, dataset: Any = None) -> Job:
    how = api.Extraction(workers=0, device="cpu")
    return job_of("colour_stats", dataset or Pictures(120, ("train", "test")), "knn", "strict", how, output=output)


def test_what_heads_decide_under_shifts(fitted: Path, monkeypatch: pytest.MonkeyPatch):
    question = question_of(fitted, lambda folder: job(folder))
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
    assert entry["n_groups"] == question.results["splits"]["test"]["n_groups"]

    def never(*_: object, **__: object) -> None:
        pytest.fail("extracted again")

    monkeypatch.setattr(Shifted, "image", never)
    monkeypatch.setattr(Pictures, "image", never)
    again = study([question, question], {"nothing": GRID["nothing"]}, lines.append)
    assert [model["shifts"] for model in again["models"]] == [[same]] * 2
    assert [(pair["a"], pair["b"], pair["difference"]) for pair in again["between"]] == [(0, 1, 0.0)]


def test_other_weights_than_those_of_the_heads_are_refused(fitted: Path):
    wrong = replace(job(fitted), protocol=replace(job().protocol, geometry=api.ModelCard("m").geometry))
    wrong = replace(wrong, protocol=replace(wrong.protocol, geometry=replace(wrong.protocol.geometry, resize=64)))
    with pytest.raises(UsageError, match="Expected preprocess"):
        study([question_of(fitted, lambda _: wrong)], GRID, print)


def test_results_of_other_images_or_kinds_are_refused(fitted: Path, tmp_path: Path):
    here = question_of(fitted, lambda folder: job(folder))
    there = question_of(fitted, lambda folder: job(folder, Pictures(30)))
    with pytest.raises(UsageError, match="same images and metric"):
        refuse_other_images([here, there])
    other = scored.segmentation(tmp_path / "masks", scored.dice(0), "m")
    with pytest.raises(UsageError, match="of segmentation"):
        question_of(other, lambda folder: job(folder))


def test_images_that_read_only_without_the_change_are_an_error(fitted: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(self: Shifted, sample: Any) -> np.ndarray:
        raise OSError("no")

    monkeypatch.setattr(Shifted, "image", broken)
    question = question_of(fitted, lambda folder: job(folder))
    with pytest.raises(EvaError, match="Cannot read image"):
        study([question], {"jpeg": [Shift("jpeg", jpeg, 11.0)]}, print)
    skipping = replace(question, job=replace(question.job, how=replace(question.job.how, on_error="skip")))
    with pytest.raises(EvaError, match="same readable images under jpeg"):
        study([skipping], {"jpeg": [Shift("jpeg", jpeg, 12.0)]}, print)
