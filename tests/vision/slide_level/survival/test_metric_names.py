from eva_vision.slide_level.survival.metric_names import METRICS


def test_a_coin_has_one_half_of_each():
    assert {metric.chance for metric in METRICS.values()} == {0.5}
    assert next(iter(METRICS)) == "c_harrell"
