"""Worker processes never see Ctrl-C."""

import os
import signal

from eva_vision.worker_processes import spawn_context


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
