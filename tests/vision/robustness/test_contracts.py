from eva_vision.robustness.contracts import Benchmark


def test_by_default_all_images_are_measured_as_one():
    assert Benchmark() == Benchmark(k=None, home=None, subsets=(), departures=())
