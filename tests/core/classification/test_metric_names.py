from eva_core.classification import metrics
from eva_core.classification.metric_names import ECE5, KAPPA, METRICS, NAMES, kept_metrics, metrics_for, metrics_of
from eva_core.contracts.cards import DatasetCard


def test_each_name_has_a_value_and_the_other_way_round():
    assert metrics.keys([]) == NAMES


def test_chance_of_balanced_accuracy_is_one_of_the_classes():
    assert metrics_of(4)["balanced_accuracy"].chance == 0.25
    assert metrics_of(0)["balanced_accuracy"] == METRICS["balanced_accuracy"]
    assert {**metrics_of(4), "balanced_accuracy": METRICS["balanced_accuracy"]} == METRICS == metrics_of(0)


def test_errors_are_better_where_they_are_lower():
    assert [name for name in NAMES if not METRICS[name].higher_is_better] == ["ece", "brier", "ece5"]


def test_squares_of_two_classes_are_counted_once():
    assert [metrics_of(count)["brier"].bounds[1] for count in (0, 2, 3)] == [2, 1, 2]


def test_grades_are_also_scored_by_kappa_and_kinds_are_not():
    grades = DatasetCard("x", classes=("1", "2", "3"), ordinal=True)
    assert metrics_for(grades)[KAPPA].bounds == (-1, 1)
    assert metrics_for(grades)["balanced_accuracy"].chance == 1 / 3
    assert KAPPA not in metrics_for(DatasetCard("x", classes=("a", "b")))


def test_a_metric_on_request_is_kept_where_a_protocol_names_it():
    card = DatasetCard("x", classes=("a", "b"))
    assert ECE5 in metrics_for(card)
    assert kept_metrics(card) == [name for name in metrics_for(card) if name != ECE5]
    assert kept_metrics(card, ("f1", ECE5)) == [*metrics_for(card)]
