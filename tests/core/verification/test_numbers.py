import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva_core.classification.predictions import predictions_table
from eva_core.results import record
from eva_core.task import Scores, task_named
from eva_core.verification.numbers import check_numbers, differences, metric_names
from eva_core.verification.verdict import Verdict
from tests.core.verification.conftest import CLASSES, part, resealed


def checked(folder: Path) -> Verdict:
    verdict = Verdict(folder)
    check_numbers(verdict, json.loads((folder / record.RESULTS).read_text()), task_named("classification"))
    return verdict


def test_numbers_follow_to_the_last_digit(made_result: Path):
    verdict = checked(made_result)
    assert verdict.wrong == []
    assert verdict.holds[0].endswith("follow from predictions.parquet to the last digit")


def test_the_last_digit_of_a_number_is_found_whatever_the_seal_says(result: Path):
    def change(content: dict[str, Any]) -> None:
        content["main"]["ci95"][0] = float(np.nextafter(content["main"]["ci95"][0], 1))

    resealed(result, change)
    (line,) = checked(result).wrong
    assert line.startswith("main.ci95.0: expected ")


def test_results_of_before_there_was_a_metric_hold(result: Path):
    def change(content: dict[str, Any]) -> None:
        metrics = content["splits"]["test"]["metrics"]
        for name in [name for name in metrics if name.partition("/")[0] in ("auprc", "brier", "quadratic_kappa")]:
            del metrics[name]

    before = checked(result).holds
    resealed(result, change)
    assert checked(result).wrong == []
    assert checked(result).holds != before  # fewer numbers


@pytest.mark.parametrize("name", ["auprc", "auprc/tumour", "brier", "quadratic_kappa"])
def test_metrics_of_rare_classes_are_made_again(result: Path, name: str):
    def change(content: dict[str, Any]) -> None:
        record = content["splits"]["test"]["metrics"][name]
        record["values"][0] = float(np.nextafter(record["values"][0], 1))

    resealed(result, change)
    (line,) = checked(result).wrong
    assert line.startswith(f"splits.test.metrics.{name}.values.0: expected ")


def test_another_machine_may_round_otherwise_but_not_lie(result: Path):
    def change(by: float) -> Any:
        def of(content: dict[str, Any]) -> None:
            content["environment"]["platform"] = "another"
            content["main"]["mean"] += by

        return of

    resealed(result, change(1e-9))
    assert checked(result).wrong == []
    assert "as it was made on another machine" in checked(result).holds[0]
    resealed(result, change(1e-4))
    assert len(checked(result).wrong) == 1


def test_predictions_of_another_result_change_the_numbers(result: Path):
    record.write_predictions(result, predictions_table([part("test", 26)], CLASSES, [0, 1]))
    resealed(result)
    lines = checked(result).wrong
    assert "splits.test.n: expected 26, but found 24." in lines
    assert any(line.startswith("bootstrap.npy") for line in lines)


def test_probabilities_that_contradict_each_other_are_named(result: Path):
    odd = part("test")
    odd.scores[1, 3, 0] += 0.01
    record.write_predictions(result, predictions_table([odd], CLASSES, [0, 1]))
    resealed(result)
    assert any("image3.png of run 1 is off by 0.01" in line for line in checked(result).wrong)


def test_fields_that_are_gone_are_wrong(result: Path):
    resealed(result, lambda content: content.pop("main"))
    assert checked(result).wrong == ["Expected the fields of a result and its predictions, but found KeyError: 'main'."]


def test_a_kind_of_task_that_keeps_too_little_is_not_checked(result: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eva_core.classification.predictions.Predictions.record", Scores.record)
    verdict = checked(result)
    assert (verdict.wrong, len(verdict.unchecked)) == ([], 1)
    assert "Predictions has no such method" in verdict.unchecked[0]


def test_every_leaf_is_compared_but_for_the_last_step():
    expected = {"a": [1.0, None], "b": {"mean": 2}}
    assert differences(expected, {"a": [1.0, None], "b": {"mean": 2, "last": 9.0}}, 0.0) == (3, [])
    count, lines = differences(expected, {"a": [1.0], "b": {"mean": 2.0, "more": 1}}, 0.0)
    assert (count, len(lines)) == (3, 3)
    assert "b.mean: expected 2, but found 2.0." in lines
    assert differences(1.0, 1.0 + 1e-9, 1e-6)[1] == []


def test_names_of_metrics_stand_once():
    assert metric_names({"recall/a": 0, "recall/b": 0, "auroc": 0}) == ["recall", "auroc"]
