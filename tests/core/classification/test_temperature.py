from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit, softmax
from sklearn.metrics import brier_score_loss, log_loss

from eva_core.classification import temperature as scaling
from eva_core.classification.metrics import log_odds, probabilities
from eva_core.classification.predictions import Predictions
from eva_core.classification.temperature import COLDEST, HOTTEST, calibrated, scaled, temperature


def made(n: int, classes: int, heat: float, runs: int = 2, seed: int = 0) -> tuple[Predictions, np.ndarray]:
    """Predictions that are as sure as `heat` times what would be right, and their logits (R, N, C)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (runs, n, classes))
    targets = (softmax(logits[0], -1).cumsum(-1) > rng.random((n, 1))).argmax(-1)
    tensors = [torch.from_numpy(run * heat) for run in logits]
    scores, odds = (np.stack([f(z).numpy() for z in tensors]) for f in (probabilities, log_odds))
    ids = [f"p{i}" for i in range(n)]
    return Predictions("test", ids, ids, targets, scores, odds, [f"c{i}" for i in range(classes)]), logits * heat


@pytest.mark.parametrize("classes", [2, 5])
def test_the_temperature_is_that_of_another_optimiser(classes: int):
    part, logits = made(400, classes, 3.0)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(
            torch.from_numpy(logits[0]) / log_t.exp(), torch.from_numpy(part.targets)
        )
        value.backward()
        return value

    optimiser.step(loss)
    found = temperature(part.ranking[0], part.targets)
    assert found == pytest.approx(log_t.exp().item(), rel=1e-5)
    assert found == pytest.approx(3, rel=0.25)


def test_what_is_reported_is_scikit_learns_and_no_decision_changes():
    held_out, _ = made(500, 3, 4.0, seed=1)
    part, logits = made(500, 3, 4.0)
    record = calibrated(held_out, {"test": part})
    for which, divisor in (("before", [1, 1]), ("after", record["temperatures"])):
        values = record["splits"]["test"][which]
        for run in range(2):
            truth = softmax(logits[run] / divisor[run], -1)
            assert values["nll"]["values"][run] == pytest.approx(log_loss(part.targets, truth), abs=1e-5)
            assert values["brier"]["values"][run] == pytest.approx(brier_score_loss(part.targets, truth), abs=1e-5)
    before, after = (record["splits"]["test"][which] for which in ("before", "after"))
    for name in ("nll", "brier", "ece"):
        assert after[name]["values"][0] < before[name]["values"][0]
        assert after[name]["ci95"] is not None
    colder = scaled(part, record["temperatures"])
    assert np.array_equal(colder.scores.argmax(-1), part.scores.argmax(-1))
    assert colder.scores.sum(-1) == pytest.approx(np.ones((2, 500)))
    assert expit(colder.log_odds) == pytest.approx(colder.scores)


def test_the_hold_out_alone_decides():
    held_out, part = made(200, 2, 2.0, seed=1)[0], made(200, 2, 5.0)[0]
    expected = [temperature(run, held_out.targets) for run in held_out.ranking]
    assert calibrated(held_out, {"test": part})["temperatures"] == expected


def test_temperatures_end_where_nothing_more_is_gained():
    sure = np.array([[3.0, -3.0], [-3.0, 3.0]])
    assert temperature(sure, np.array([0, 1])) == COLDEST
    assert temperature(sure, np.array([1, 0])) == HOTTEST
    assert temperature(np.zeros((2, 2)), np.array([0, 1])) == COLDEST  # whatever it is


def test_an_image_without_a_chance_leaves_no_temperature():
    part, _ = made(50, 3, 1.0, runs=1)
    odds = np.array(part.ranking)
    odds[0, 0, part.targets[0]] = -np.inf
    assert temperature(odds[0], part.targets) is None
    record = calibrated(replace(part, log_odds=odds), {"test": part})
    assert (record["temperatures"], record["splits"]) == ([None], {})
    elsewhere = np.array(part.ranking)
    elsewhere[0, 0, (part.targets[0] + 1) % 3] = -np.inf  # another class without one is no matter
    assert temperature(elsewhere[0], part.targets) is not None
    lost = replace(part, log_odds=odds, scores=np.exp(log_expit(odds)))
    values = calibrated(part, {"test": lost})["splits"]["test"]["after"]
    assert (values["nll"]["mean"], values["nll"]["ci95"]) == (None, None)
    assert values["brier"]["mean"] > 0


def test_bounds_are_those_of_the_docs():
    assert (scaling.COLDEST, scaling.HOTTEST) == (0.01, 100)
