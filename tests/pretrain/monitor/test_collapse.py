"""The monitor: what it refuses, and a line for each step that it measured."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch._dynamo as dynamo

from eva_core.errors import UsageError
from eva_pretrain.augment.views import Views
from eva_pretrain.methods.base import Setup
from eva_pretrain.methods.dino import Dino
from eva_pretrain.monitor.collapse import Monitor, MonitorCallback
from eva_pretrain.monitor.lines import MEASURES, append_line, read_lines
from eva_pretrain.network.vit import Architecture
from eva_pretrain.optimisation.recipe import Recipe


@pytest.mark.parametrize("settings", [{"every": -1}, {"patches": 1}, {"holdout": 1.0}])
def test_settings_that_make_no_sense_are_one_line(settings):
    with pytest.raises(UsageError, match=r"^Expected monitor\..*, but got "):
        Monitor(**settings)


def test_a_step_that_was_measured_before_the_run_resumed_has_one_line(tmp_path: Path):
    for step in (2, 4):
        append_line(tmp_path / MEASURES, {"step": step, "monitor/knn": 0.25})
    callback = MonitorCallback(Monitor(), None, tmp_path)
    callback._write(4, {"monitor/knn": 0.5}, np.zeros((2, 2, 3), np.uint8))
    assert callback.numbers == (4, {"monitor/knn": 0.5})
    lines = read_lines(tmp_path / MEASURES)
    assert lines == [{"step": 2, "monitor/knn": 0.25}, {"step": 4, "monitor/knn": 0.5}]


def test_measuring_makes_no_graphs_as_torch_would_make_none_for_the_student_after_eight(monkeypatch, tmp_path):
    compile_, made = torch.nn.Module.compile, []
    graph = lambda module, inputs: made.append(module) or module.forward  # noqa: E731
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **given: compile_(self, backend=graph, **given))
    small = Architecture("vit_tiny_patch16_224", 32, {"depth": 1, "embed_dim": 12, "num_heads": 1}, compile=True)
    method = Dino(Setup(small, Views(global_size=32), Recipe(), 4), prototypes=8, hidden=8, bottleneck=4)
    method._trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    callback, pixels = MonitorCallback(Monitor(), None, tmp_path), torch.zeros(9, 3, 32, 32, dtype=torch.uint8)
    dynamo.reset()
    with torch.no_grad():
        sizes = [callback._embed(method, pixels[:n]).shape for n in range(1, 10)]
        assert sizes == [(n, 12) for n in range(1, 10)]
        assert not made
        method.teacher.vit(torch.zeros(4, 3, 32, 32))
    assert len(made) == 1
    dynamo.reset()
