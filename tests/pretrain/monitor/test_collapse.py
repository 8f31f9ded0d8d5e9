"""The monitor: what it refuses, and a line for each step that it measured."""

from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_pretrain.monitor.collapse import Monitor, MonitorCallback
from eva_pretrain.monitor.lines import MEASURES, append_line, read_lines


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
