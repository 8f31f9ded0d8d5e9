from eva_vision.regression.metric_names import METRICS


def test_only_an_error_is_better_low():
    assert [name for name, metric in METRICS.items() if not metric.higher_is_better] == ["mae"]


def test_chance_explains_nothing():
    assert {name: metric.chance for name, metric in METRICS.items()} == {
        "r2": 0,
        "pearson": 0,
        "spearman": 0,
        "mae": None,
    }
