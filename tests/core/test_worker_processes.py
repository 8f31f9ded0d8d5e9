"""Worker processes never see Ctrl-C."""

import multiprocessing
import os
import signal

import pytest

from eva_core.worker_processes import loader_context, spawn_context


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_spawned_processes_never_see_ctrl_c():
    process = spawn_context().Process(target=ctrl_c)
    process.start()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)  # as it imports
    process.join()
    assert process.exitcode == 0


def test_the_parent_sees_ctrl_c_as_before():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    process = spawn_context().Process(target=print)
    process.start()
    process.join()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_loaders_fork_where_that_is_the_default_and_else_are_left_alone_by_ctrl_c(method, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)
    context = loader_context()
    assert (context is None) == (method == "fork")
    assert context is None or isinstance(context, type(spawn_context()))
