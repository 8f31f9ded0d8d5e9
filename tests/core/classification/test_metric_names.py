from eva_core.classification import metrics
from eva_core.classification.metric_names import METRICS, NAMES, metrics_of


def test_each_name_has_a_value_and_the_other_way_round():
    assert metrics.keys([]) == NAMES


def test_chance_of_balanced_accuracy_is_one_of_the_classes():
    assert metrics_of(4)["balanced_accuracy"].chance == 0.25
    assert metrics_of(0)["balanced_accuracy"] == METRICS["balanced_accuracy"]
    assert {**metrics_of(4), "balanced_accuracy": METRICS["balanced_accuracy"]} == METRICS


def test_only_calibration_errors_are_better_where_they_are_lower():
    assert [name for name in NAMES if not METRICS[name].higher_is_better] == ["ece"]
