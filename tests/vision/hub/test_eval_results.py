"""Scores as the hub's benchmarks read them, and benchmarks that are none."""

import pytest
import yaml

from eva_core.errors import EvaError, UsageError
from eva_vision.hub.eval_results import benchmark, eval_results
from tests.hub import Hub
from tests.vision.hub.test_scores import score


def test_an_entry_has_what_the_format_requires():
    path, text = eval_results(score(), "owner/tissue", "four")
    assert path == ".eval_results/tree_linear_strict.yaml"
    (entry,) = yaml.safe_load(text)
    assert entry["dataset"] == {"id": "owner/tissue", "task_id": "four"}
    assert entry["value"] == 0.812346
    assert entry["notes"] == score().sentence()


def test_the_one_task_of_a_benchmark_needs_no_name(hub: Hub):
    hub.files["datasets/owner/tissue/eval.yaml"] = b"tasks: [{id: four}]"
    assert benchmark("owner/tissue") == benchmark("owner/tissue/four") == ("owner/tissue", "four")


@pytest.mark.parametrize("content", [b"tasks: [{id: a}, {id: b}]", b"[]", b"name: x", b"tasks: [1]"])
def test_a_task_must_be_one_of_the_benchmark(hub: Hub, content: bytes):
    hub.files["datasets/owner/tissue/eval.yaml"] = content
    with pytest.raises(UsageError, match="Expected --benchmark owner/tissue/TASK"):
        benchmark("owner/tissue/c")


def test_what_is_no_benchmark_is_one_line(hub: Hub):
    hub.files["datasets/owner/tissue/README.md"] = b""
    with pytest.raises(UsageError, match=r"has no eval\.yaml"):
        benchmark("owner/tissue")
    for named in ("owner/gone", "owner", "not a/name"):
        with pytest.raises(EvaError) as caught:
            benchmark(named)
        assert "\n" not in str(caught.value)
