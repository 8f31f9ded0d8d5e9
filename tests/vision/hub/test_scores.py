"""The score of a result, with what it stands on."""

from typing import Any, cast

from eva_core.contracts.results import Results
from eva_vision.hub.scores import Score


def metrics(value: float) -> dict[str, Any]:
    return {"balanced_accuracy": {"mean": value, "std": 0.01, "ci95": [0.7, 0.9], "values": [value] * 5, "last": value}}


def score(**fields: Any) -> Score:
    """A made-up score."""
    main = {"split": "test", "metric": "balanced_accuracy", "higher_is_better": True, "bounds": [0, 1], "chance": 0.5}
    split = {"n": 100, "n_groups": 10, "interval": "group"}
    content = {
        "task": "classification",
        "identity": {"model": "fm", "dataset": "tree", "head": "linear", "protocol": "strict"},
        "main": {**main, "mean": 0.8123456, "std": 0.01, "ci95": [0.7, 0.9], "selected_on": "val"},
        "selection": "val",
        "splits": {"test": {**split, "metrics": metrics(0.8123456)}},
        "baselines": {"colour_stats": {"splits": {"test": {**split, "metrics": metrics(0.6)}}}},
        "synthetic": False,
        "contamination": {"kind": "exact", "n_seen": 3},
        "confounds": None,
        "skipped": [],
        "settings": {},
        "cost": {"embed_s": 1.0, "images_per_s": 2.0, "fit_s": 3.0, "peak_rss_mb": 4.0},
        "mpp": {"native": None, "reached": None},
        "report": {},
        "environment": {"eva-pathology": "0.1.0"},
        **fields,
    }
    return Score(cast(Results, content))


def test_a_score_says_how_it_was_made():
    assert score().sentence() == (
        "balanced_accuracy on test, linear head, protocol strict, 5 runs, 95 % interval 0.700 to 0.900; "
        "colour_stats 0.600; chance 0.500; eva 0.1.0"
    )
    assert "synthetic data" in score(synthetic=True).sentence()


def test_nulls_stand_beside_it():
    assert score().nulls == {"colour_stats": "0.600", "chance": "0.500"}


def test_remarks_name_contamination_and_no_cost():
    remarks = "; ".join(score().remarks())
    assert "the model was trained on 3 of these images" in remarks
    assert "peak memory" not in remarks
