"""Stops of a run: by a signal or a time limit, and of several ranks after the same step; test_devices has two."""

import signal
import time
from datetime import timedelta
from typing import Any

import pytest
from torch import Tensor

from eva_core import interrupts
from eva_pretrain.run import stopping
from eva_pretrain.run.stopping import Stopping


def test_a_signal_and_a_time_limit_have_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Stopping(None, time.monotonic()).exit_code() == 0
    assert Stopping(1.0, time.monotonic()).exit_code() == 0
    assert Stopping(1.0, time.monotonic() - 3601).exit_code() == 75
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)):
        monkeypatch.setattr(interrupts, "stopped_by", lambda number=number: number)
        assert Stopping(None, 0.0).exit_code() == code


def test_ranks_compare_notes_and_look_at_the_answer_a_step_later(monkeypatch: pytest.MonkeyPatch) -> None:
    others = iter([0, 143, 0])  # what the greatest code of the other ranks is, step by step
    waited: list[int] = []

    class Asked:
        def wait(self) -> None:
            waited.append(1)

    def all_reduce(code: Tensor, *_: Any, **__: Any) -> Asked:
        code.fill_(max(int(code), next(others)))
        return Asked()

    monkeypatch.setattr(stopping, "world", lambda: 2)
    monkeypatch.setattr(stopping.dist, "new_group", lambda backend, timeout: waits.append(timeout))
    monkeypatch.setattr(stopping.dist, "all_reduce", all_reduce)
    waits: list[timedelta] = []
    rank = Stopping(None, 0.0, timedelta(hours=2))
    assert [rank.exit_code() for _ in range(3)] == [0, 0, 143]
    assert (len(waited), waits) == (2, [timedelta(hours=2)])
