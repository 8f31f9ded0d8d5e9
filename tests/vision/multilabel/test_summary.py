import numpy as np
import pytest

from eva_vision.multilabel.summary import split_record
from tests.vision.multilabel.conftest import LABELS, made_up


def test_intervals_are_by_group_and_undefined_labels_are_null():
    part = made_up()
    record, intervals = split_record(part.log_odds, part.log_odds[:, ::-1], part.targets, LABELS, part.groups)
    assert (record["n"], record["n_groups"], record["interval"]) == (80, 40, "group")
    metrics = record["metrics"]
    for name in ("auprc", "auroc", "f1", "brier", "ece", "auprc/gland", "ece/mucin"):
        low, high = metrics[name]["ci95"]
        assert low <= metrics[name]["mean"] <= high
        assert len(metrics[name]["values"]) == 2
        assert intervals.draws[name].shape == (2000,)
    assert metrics["auprc/never"]["values"] == [None, None]
    assert metrics["brier"]["last"] > metrics["brier"]["mean"]  # of other samples


def test_metrics_that_are_not_asked_for_are_not_made():
    part = made_up(n=10)
    record, _ = split_record(part.log_odds, part.log_odds, part.targets, LABELS, None, ["auroc"])
    assert {name.partition("/")[0] for name in record["metrics"]} == {"auroc"}


def test_labels_of_which_one_begins_as_another_keep_their_own_intervals():
    part = made_up()
    by_name = [
        split_record(part.log_odds, part.log_odds, part.targets, labels, part.groups, ["ece"])[0]["metrics"]
        for labels in (("a", "a b", "a b c"), LABELS)
    ]
    for one, other in zip(("a", "a b", "a b c"), LABELS, strict=True):
        assert by_name[0][f"ece/{one}"] == by_name[1][f"ece/{other}"]


def test_calibrated_probabilities_have_an_interval_that_begins_at_zero():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, (600, 2))
    odds = np.log(p / (1 - p))[None]
    record, _ = split_record(odds, odds, (rng.random((600, 2)) < p).astype(float), ["a", "b"], None, ["ece"])
    assert record["metrics"]["ece"]["mean"] > 0.02  # what noise alone gives
    assert record["metrics"]["ece"]["ci95"][0] == pytest.approx(0, abs=0.01)
