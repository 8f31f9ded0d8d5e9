"""Work over a cluster: as it finishes, and what fails is a value."""

import os
import signal
import sys
import time

import pytest
import ray

from eva_core.errors import EvaError, UsageError
from eva_core.ray_cluster import each_on_ray, waits_for


def test_ray_that_is_not_installed_is_told_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"Expected ray for --engine ray\. pip install"):
        each_on_ray(abs, [1, 2])


def test_a_cluster_that_can_never_do_it_is_told():
    small = {"Alive": True, "Resources": {"CPU": 4.0}}
    large = {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 2.0}}
    gone = {**large, "Alive": False}
    one = {"num_cpus": 1, "num_gpus": 0}
    assert waits_for([small], one) is None
    assert waits_for([small, large], {"num_cpus": 8, "num_gpus": 1}) is None
    said = waits_for([small, gone], {"num_cpus": 8, "num_gpus": 1})
    assert said is not None
    assert "a machine with 8 CPU and 1 GPU for each run" in said


@pytest.mark.slow
def test_results_come_as_they_finish_and_failures_are_values(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    asked = []

    def items():
        for n in range(40):
            asked.append(n)
            yield n

    twenty = tmp_path / "twenty"

    def work(n):
        """Twice the number, but for some that go wrong, and 0, which waits for 20."""
        if n == 3:
            raise EvaError("three is refused")
        if n == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if n == 20:
            twenty.touch()
        until = time.monotonic() + 120
        while n == 0 and not twenty.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        return 2 * n

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = []
        for n, outcome in each_on_ray(work, items()):
            assert len(asked) <= len(found) + 8  # four for each core
            found.append((n, outcome))
        assert ray.is_initialized()  # for it was before
    finally:
        ray.shutdown()
    assert sorted(n for n, _ in found) == list(range(40))
    outcomes = dict(found)
    assert isinstance(outcomes[3], EvaError)
    assert str(outcomes[3]) == "three is refused"
    assert isinstance(outcomes[5], ray.exceptions.RayError)
    assert all(outcomes[n] == 2 * n for n in range(40) if n not in (3, 5))


@pytest.mark.slow
def test_a_cluster_that_was_begun_here_ends(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    assert list(each_on_ray(abs, [-1], address="local")) == [(-1, 1)]
    assert not ray.is_initialized()
