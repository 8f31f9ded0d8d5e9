from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.metrics import weighted
from tests.vision.multilabel.conftest import LABELS, made_up


def test_each_name_has_a_value():
    part = made_up(n=6)
    values = weighted(part.log_odds[0], part.targets, LABELS, part.targets.T * 0 + 1)
    assert [name for name in values if "/" not in name] == list(METRICS)


def test_errors_are_better_where_they_are_lower():
    assert [name for name, facts in METRICS.items() if not facts.higher_is_better] == ["brier", "ece"]
