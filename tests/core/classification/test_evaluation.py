"""What `strict` holds out, and what a result says of it."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from eva_core import fit
from eva_core.classification.predictions import HOLDOUT, HOLDOUT_SPLIT, read_predictions
from eva_core.config.protocols import load_protocol
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import UsageError
from eva_core.extraction.settings import Extraction
from eva_core.results.record import REPORT, RESULTS
from eva_core.results.report import notes, show
from eva_core.task import task_named
from eva_core.verification.verify import verify
from eva_vision.models.baselines import colour_stats
from tests.conftest import picture
from tests.core.verification.conftest import resealed

CPU = Extraction(device="cpu", workers=0)
TINTS = ((220, 150, 180), (150, 120, 200), (120, 190, 120))


class Clinic(Dataset):
    """Tinted images of patients: train as (patient, class) pairs, and ten images of each class to test on."""

    def __init__(self, train: Sequence[tuple[str | None, int]], classes: int) -> None:
        self.card = DatasetCard(name="clinic", classes=tuple("abc"[:classes]), synthetic=True)
        test = [(f"t{n}", n % classes) for n in range(10 * classes)]
        rows = [("train", *row) for row in train] + [("test", *row) for row in test]
        self.samples = [
            Sample(f"s{n:03d}", split, label, bytes=n, group=group) for n, (split, group, label) in enumerate(rows)
        ]

    def image(self, sample: Sample) -> np.ndarray:
        return picture(sample.bytes, TINTS[sample.target or 0])


def strict(dataset: Dataset, tmp_path, head: str = "logreg"):
    protocol = replace(load_protocol("strict"), steps=20, runs=1)
    return fit(colour_stats(), dataset, head, protocol, tmp_path, CPU, tell=lambda line: None)


@pytest.mark.parametrize("head", ["logreg", "knn"])
def test_a_class_of_one_patient_is_chosen_by_and_the_result_says_so(tmp_path, head):
    train = [(f"p{n // 4}", 0) for n in range(40)] + [("one", 1)] * 10
    results = strict(Clinic(train, 2), tmp_path, head)
    assert "images of one group on both sides for b" in results["selection"]
    assert results["main"]["mean"] > 0.95
    assert not any("--protocol strict" in line for line in notes(results))


def test_a_class_of_one_image_is_named(tmp_path):
    train = [(f"p{n}", n % 2) for n in range(20)] + [("one", 2)]
    assert "without c, which cannot be divided" in strict(Clinic(train, 3), tmp_path)["selection"]


def test_one_image_of_one_of_two_classes_is_refused(tmp_path):
    with pytest.raises(UsageError, match="'clinic', to hold some out, but b cannot be divided"):
        strict(Clinic([(f"p{n}", 0) for n in range(10)] + [("one", 1)], 2), tmp_path)


def test_a_refit_that_learns_what_was_selected_is_not_told(tmp_path):
    results = strict(Clinic([(f"p{n}", n % 2) for n in range(40)], 2), tmp_path)
    assert results["refit"] >= results["selected"][0]["value"]
    assert not any("disagree" in line for line in notes(results))
    worse = {**results, "refit": results["selected"][0]["value"] - 0.1}
    assert any("they disagree, and the score may be wrong" in line for line in notes(worse))


def test_a_score_below_what_the_hold_out_promised_is_told(tmp_path):
    results = strict(Clinic([(f"p{n}", n % 2) for n in range(40)], 2), tmp_path)
    results["main"]["ci95"] = [0.4, 0.7]
    assert any("above the interval of test" in line for line in notes(results))


class Album(Clinic):
    """Images without patients; those of test are images of train, turned by a quarter, as far as `turned` says."""

    def __init__(self, turned: int) -> None:
        super().__init__([(None, n % 2) for n in range(24)], 2)
        self.samples = [replace(s, id=f"{s.id} of {turned}", group=None) for s in self.samples]
        self.turned = turned

    def image(self, sample: Sample) -> np.ndarray:
        n = sample.bytes
        copied = 24 <= n < 24 + self.turned
        rng = np.random.default_rng(n - 24 if copied else n)
        blobs = np.kron(rng.normal(0, 40, (8, 8, 1)), np.ones((8, 8, 1)))
        tint = np.array(TINTS[sample.target or 0]) * 0.8
        return np.rot90(np.clip(tint + blobs, 0, 255).astype(np.uint8), int(copied)).copy()


def test_turned_images_of_train_in_a_reported_split_are_counted_and_told(tmp_path):
    results = strict(Album(6), tmp_path / "six")
    assert results["turned_copies"] == {"test": 6}
    assert any("6 images of test look like images of train" in line for line in notes(results))
    assert "(0 of 24 images look like another)" in results["selection"]
    none = strict(Album(0), tmp_path / "none")
    assert none["turned_copies"] == {}
    assert not any("look like images of train" in line for line in notes(none))


def test_where_groups_are_known_nobody_looks_for_turned_copies(tmp_path):
    assert strict(Clinic([(f"p{n}", n % 2) for n in range(20)], 2), tmp_path)["turned_copies"] is None


@pytest.mark.parametrize("head", ["logreg", "knn", "linear"])
def test_a_temperature_is_fitted_on_what_the_head_has_not_learnt_from(tmp_path, head):
    train = [(f"p{n // 4}", n % 2) for n in range(48)]
    results = strict(Clinic(train, 2), tmp_path, head)
    calibration = results["calibration"]
    held_out = read_predictions(tmp_path, HOLDOUT_SPLIT, HOLDOUT)
    assert calibration["n"] == len(held_out.ids)
    assert {*held_out.ids} < {f"s{n:03d}" for n in range(48)}
    temperature = calibration["temperatures"][0]
    assert 0 < temperature <= 100
    text = io.StringIO()
    show(results, Console(file=text, width=80))
    shown = " ".join(text.getvalue().split())
    assert f"temperature {temperature:.2f}, fitted on {len(held_out.ids)} held-out images of train" in shown
    assert all(name in text.getvalue() for name in ("nll", "ece", "brier", "trained", "scaled"))


def test_what_is_made_again_is_the_same_and_an_edit_is_found(tmp_path):
    train = [(f"p{n // 4}", n % 2) for n in range(48)]
    strict(Clinic(train, 2), tmp_path)
    assert verify(tmp_path, sources=False).wrong == []
    content = json.loads((tmp_path / RESULTS).read_text())
    content["calibration"]["temperatures"][0] += 0.01
    resealed(tmp_path, lambda stated: stated.update(content))
    (line,) = verify(tmp_path, sources=False).wrong
    assert line.startswith("calibration.temperatures.0: expected ")
    resealed(tmp_path, lambda stated: stated.update(calibration=None))
    assert any(line.startswith("calibration: expected ") for line in verify(tmp_path, sources=False).wrong)
    resealed(tmp_path, lambda stated: stated.pop("calibration"))  # as results are that are older
    assert verify(tmp_path, sources=False).wrong == []


def test_nothing_is_fitted_on_a_split_that_is_reported(tmp_path):
    protocol = replace(load_protocol("eva-0.4"), steps=20, runs=1)
    dataset = Clinic([(f"p{n // 4}", n % 2) for n in range(20)], 2)
    results = fit(colour_stats(), dataset, "linear", protocol, tmp_path, CPU, tell=lambda line: None)
    assert results["calibration"] is None
    assert not (tmp_path / HOLDOUT).exists()
    assert verify(tmp_path, sources=False).wrong == []
    text = (tmp_path / REPORT).read_text()
    assert "No temperature was fitted" in text


def test_a_protocol_names_the_main_metric_and_one_beside_it(tmp_path):
    dataset = Clinic([("p", 0), ("q", 1), ("r", 0), ("s", 1)] * 3, 2)
    protocol = replace(load_protocol("strict"), metrics=("f1", "ece5"), C=(1.0,))
    result = fit(colour_stats(), dataset, "logreg", protocol, tmp_path, CPU, tell=lambda line: None)
    metrics = result["splits"]["test"]["metrics"]
    assert (result["main"]["metric"], result["main"]["mean"]) == ("f1", metrics["f1"]["mean"])
    assert result["identity"]["protocol"] == "strict+C=1.0+metrics=f1,ece5"
    assert metrics["ece5"]["ci95"][0] <= metrics["ece5"]["mean"] <= metrics["ece5"]["ci95"][1]
    assert dataset.card.metric == "balanced_accuracy"
    assert task_named("classification").beside(result) == ["ece5"]


def test_a_metric_that_there_is_not_is_refused_before_anything_is_extracted(tmp_path):
    dataset = Clinic([("p", 0), ("q", 1)], 2)
    protocol = replace(load_protocol("strict"), metrics=("f1", "f2"))
    with pytest.raises(UsageError, match=r"protocol\.metrics among balanced_accuracy, .* for clinic, but got f2\."):
        fit(colour_stats(), dataset, "logreg", protocol, tmp_path, CPU, tell=lambda line: None)
