import numpy as np
import pytest

from eva_core.statistics.comparison import Difference
from eva_vision.shifts import decisions
from eva_vision.shifts.contracts import ChangeCard
from tests.vision.shifts.example import predictions


def test_what_does_not_change_flips_nothing():
    clean = predictions(0)
    found = decisions.flipped(clean, predictions(0))
    assert {name: (one["mean"], one["ci95"]) for name, one in found.items()} == dict.fromkeys(
        ("images", "patients", "to_wrong", "to_right"), (0.0, [0.0, 0.0])
    )
    assert clean.compare(predictions(0), "accuracy").difference == 0


def test_flips_and_their_interval_against_a_bootstrap_written_out():
    clean, shifted = predictions(0, runs=1), predictions(0, runs=1, noise=1.5)
    found = decisions.flipped(clean, shifted)
    moved = clean.scores[0].argmax(1) != shifted.scores[0].argmax(1)
    assert found["images"]["mean"] == pytest.approx(moved.mean())
    assert moved.any()
    by_patient = moved.reshape(20, 3)
    means = [by_patient[np.random.default_rng([0, d]).integers(20, size=20)].mean() for d in range(2000)]
    assert found["images"]["ci95"] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist())
    right = clean.scores[0].argmax(1) == clean.targets, shifted.scores[0].argmax(1) == clean.targets
    assert found["to_wrong"]["mean"] == pytest.approx((right[0] & ~right[1]).mean())
    assert found["to_wrong"]["mean"] - found["to_right"]["mean"] == pytest.approx(right[0].mean() - right[1].mean())


def test_a_patient_is_decided_by_the_mean_of_its_images():
    clean, shifted = predictions(0, runs=2), predictions(0, runs=2, noise=2.0)
    before, after = (p.scores.reshape(2, 20, 3, 3).mean(axis=2).argmax(-1) for p in (clean, shifted))
    found = decisions.patient_decisions(clean)
    assert found is not None
    assert (found == before).all()
    share = decisions.flipped(clean, shifted)["patients"]
    assert share["mean"] == pytest.approx((before != after).mean())
    assert share["ci95"][0] <= share["mean"] <= share["ci95"][1]


def test_without_patients_none_is_decided():
    clean = predictions(0, grouped=False)
    assert decisions.patient_decisions(clean) is None
    assert decisions.flipped(clean, clean)["patients"] is None


def test_score_and_calibration_are_those_of_a_result():
    from eva_core.classification.summary import split_record

    p = predictions(0)
    groups = p.known_groups
    record, _ = split_record(p.scores, p.scores, p.targets, p.labels, groups, p.ranking, p.ranking)
    found = decisions.scored(p, "balanced_accuracy")
    for name in ("balanced_accuracy", "ece"):
        assert found[name]["mean"] == pytest.approx(record["metrics"][name]["mean"], abs=1e-6)
        assert found[name]["ci95"] == pytest.approx(record["metrics"][name]["ci95"], abs=1e-6)


def test_cosines_of_embeddings():
    clean = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    found = decisions.cosines(clean, np.array([[2.0, 0.0], [1.0, -1.0], [1.0, 0.0]]))
    assert found["mean"] == pytest.approx(0.5)  # an embedding of length 0 has no direction
    assert found["p5"] == pytest.approx(0.05)


def drop(difference: float, p: float) -> Difference:
    bounds = sorted([0.5 * difference, 1.5 * difference])
    return Difference(difference, ci95=bounds, p=p, mcnemar_p=None, n_groups=50, grouped=True)


def test_a_drop_is_told_after_holm_and_a_rise_is_none():
    differences = [drop(-0.1, 0.03), drop(-0.2, 0.001), drop(0.2, 0.001)]
    assert decisions.told(differences, 1) == [True, True, False]
    assert decisions.told([*differences, drop(-0.1, 0.03)], 1) == [False, True, False, False]
    assert decisions.told(differences, -1) == [False, False, True]  # where lower is better


def test_a_score_holds_until_the_first_drop_on_each_side():
    card = ChangeCard("two sides", (-0.2, -0.1, 0.1, 0.2))
    sides = decisions.holds_until(card, [-0.1, -0.2, 0.1, 0.2], [False, False, True, False])
    assert sides == [
        {"side": "-", "until": -0.2, "first": None, "tried": -0.2},
        {"side": "+", "until": None, "first": 0.1, "tried": 0.2},
    ]
    names = decisions.holds_until(ChangeCard("names", ("a", "b")), ["a", "b"], [False, True])
    assert [one["first"] for one in names] == [None, "b"]
    jpeg = ChangeCard("quality", (90.0,), neutral=100.0)
    assert decisions.holds_until(jpeg, [90.0, 10.0], [False, True])[0]["until"] == 90.0


def test_two_models_are_held_against_each_other_on_the_same_images():
    clean = predictions(0)
    groups = clean.known_groups
    a, b = (decisions.flips(clean, predictions(0, noise=noise)) for noise in (3.0, 0.3))
    found = decisions.between(a, b, groups)
    assert found["difference"] == pytest.approx(a.mean() - b.mean())
    assert found["ci95"][0] > 0
    assert found["p"] < 0.01
    swapped = decisions.between(b, a, groups)
    assert swapped["ci95"] == pytest.approx([-found["ci95"][1], -found["ci95"][0]])
