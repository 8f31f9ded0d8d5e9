"""Ctrl-C and SIGTERM: once, in one line, and not lost wherever they come."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from eva_core import interrupts
from eva_core.cli import main
from eva_core.errors import EvaError
from eva_core.progress import Bar

STOPPED = "eva: Stopped. Finished parts are kept: the same command goes on from there.\n"


def command(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> int:
    """Exit code of a command that does some work."""
    monkeypatch.setattr("eva_core.commands.doctor.main", lambda argv: work())
    return main(["doctor"])


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def go_on() -> None:
    """Work that takes a while in Python."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        time.sleep(0.001)
    pytest.fail("the signal was lost")


class Deleted:
    def __del__(self) -> None:
        ctrl_c()


def deleted() -> None:
    """Python ignores what `__del__` raises."""
    Deleted()
    go_on()


def forked() -> None:
    """Python ignores what hooks of a fork raise."""
    at: list[int] = [os.getpid()]
    os.register_at_fork(before=lambda: ctrl_c() if at and at.pop() else None)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    go_on()


def caught() -> None:
    """A library that catches everything."""
    with contextlib.suppress(BaseException):
        ctrl_c()
    with Bar("work", 3, "images", visible=False) as bar:
        bar.advance(1)
    pytest.fail("the signal was lost")


def converted() -> None:
    """A library that makes an error of its own of it."""
    try:
        ctrl_c()
    except KeyboardInterrupt as error:
        raise EvaError("A process that reads has died.") from error


def twice() -> None:
    try:
        ctrl_c()
    finally:
        ctrl_c()  # while something is saved
        ctrl_c()
        saved.append(1)


saved: list[int] = []


@pytest.mark.parametrize("work", [ctrl_c, deleted, forked, caught, converted, twice])
def test_ctrl_c_is_one_line_wherever_it_comes(work, monkeypatch, capsys):
    saved.clear()
    assert command(monkeypatch, work) == 130
    assert capsys.readouterr().err == STOPPED
    assert saved == [1] * (work is twice)


def test_what_a_fork_lost_is_not_raised_amid_its_hooks(monkeypatch, capsys):
    """`logging` locks itself before a fork: interrupted as it lets go, it would keep every other thread waiting."""
    monkeypatch.setattr(interrupts, "_AGAIN", 1e-4)
    at: list[int] = [os.getpid()]
    os.register_at_fork(before=lambda: time.sleep(0.01) if at else None)  # it comes while later hooks run
    assert command(monkeypatch, forked) == 130
    at.clear()
    assert capsys.readouterr().err == STOPPED
    free: list[bool] = []

    def lock() -> None:
        if logging._lock.acquire(timeout=5):
            logging._lock.release()
            free.append(True)

    other = threading.Thread(target=lock)
    other.start()
    other.join()
    assert free == [True]


def test_sigterm_is_the_same_and_exit_143(monkeypatch, capsys):
    assert command(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM) or go_on()) == 143
    assert capsys.readouterr().err == STOPPED


def test_sigusr1_is_the_same_and_asks_to_be_started_again(monkeypatch, capsys):
    assert command(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGUSR1) or go_on()) == 75
    assert capsys.readouterr().err == STOPPED


def test_work_that_saved_says_what_it_has(monkeypatch, capsys):
    def work(line: str) -> None:
        raise interrupts.Stopped(line, 75)

    assert command(monkeypatch, lambda: work("Step 3 is kept.")) == 75
    assert command(monkeypatch, lambda: work("")) == 75  # another process says it
    assert capsys.readouterr().err == "eva: Stopped. Step 3 is kept.\n"


@pytest.mark.parametrize(
    ("signals", "at_once"),
    [((signal.SIGTERM, signal.SIGTERM), True), ((signal.SIGUSR1, signal.SIGTERM), False)],
)
def test_the_same_signal_again_no_longer_waits(monkeypatch, signals, at_once):
    monkeypatch.setattr(interrupts, "_IMPATIENCE", 0.01)
    saved.clear()

    def training() -> None:
        with interrupts.deferred(""):
            for number in signals:
                signal.raise_signal(number)
                time.sleep(0.02)
            saved.append(1)

    assert command(monkeypatch, training) == 143
    assert saved == [1] * (not at_once)


def test_all_is_as_before_after_a_command(monkeypatch):
    def state() -> list[Any]:
        return [
            *(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)),
            sys.unraisablehook,
            threading.excepthook,
        ]

    before = state()
    assert command(monkeypatch, lambda: 0) == 0
    assert command(monkeypatch, ctrl_c) == 130
    within = iter([lambda: main(["doctor"]), lambda: 0])
    assert command(monkeypatch, lambda: next(within)()) == 0  # a command within a command
    assert state() == before
    assert interrupts.stopped_by() is None
    interrupts.check()


def test_what_is_lost_without_a_signal_is_still_told(monkeypatch):
    class Broken:
        def __del__(self) -> None:
            raise ValueError("of a destructor")

    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(str(lost.exc_value)))
    assert command(monkeypatch, lambda: Broken() and None) == 0
    assert told == ["of a destructor"]


def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)  # as nohup does
    handlers: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.append(number))
    with interrupts.handled(whole_process=False):
        assert handlers == [signal.SIGALRM]


def test_another_thread_changes_nothing():
    before = signal.getsignal(signal.SIGINT)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(interrupts.install()))
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGINT) is before


def test_forked_processes_never_see_ctrl_c(monkeypatch):
    def forked() -> int:
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGUSR1)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        return 0

    assert command(monkeypatch, forked) == 0


def test_work_that_saves_first_is_asked_and_stops_itself(monkeypatch, capfd):
    steps: list[int] = []

    def training() -> None:
        with interrupts.deferred("after this step"):
            ctrl_c()
            while not steps or interrupts.stopped_by() is None:
                steps.append(1)
            interrupts.check()  # as a bar does
            saved.append(1)

    saved.clear()
    assert command(monkeypatch, training) == 130
    assert (steps, saved) == ([1], [1])
    assert capfd.readouterr().err == f"eva: Stopping after this step. Ctrl-C again stops at once.\n{STOPPED}"
    assert command(monkeypatch, lambda: 0) == 0  # the next command knows nothing of it


def test_within_a_larger_program_a_second_ctrl_c_no_longer_waits(monkeypatch):
    def training() -> None:
        with interrupts.deferred("after this step"):
            ctrl_c()
            time.sleep(0.15)
            ctrl_c()
            pytest.fail("the signal was lost")

    assert command(monkeypatch, training) == 130


SAVING = """
import multiprocessing, sys, time
from eva_core import cli, interrupts
def work(argv):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,), daemon=True)
    child.start()
    try:
        print(child.pid, flush=True)
        time.sleep(30)
    finally:
        print("saving", flush=True)
        time.sleep(30)
cli._dispatch = work
sys.argv[1:] = []
sys.exit(cli.main())
"""


def test_a_second_ctrl_c_stops_at_once_whatever_is_being_saved():
    process = subprocess.Popen([sys.executable, "-c", SAVING], stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGTERM)  # as from the program that started it: no impatience
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == "eva: Stopped at once. Finished parts are kept: the same command goes on from there.\n"
    for _ in range(100):
        if not os.path.exists(f"/proc/{child}"):
            return
        time.sleep(0.02)
    pytest.fail("a process that it had started goes on")


WHOLE = """
import signal, sys, threading, time
from eva_core import cli
cli._dispatch = lambda argv: print("begun", flush=True) or time.sleep(9)
class Late:
    def __del__(self): signal.raise_signal(signal.SIGINT)
late = Late()
sys.argv[1:] = []
sys.exit(cli.main())
"""


def test_signals_at_the_end_of_the_process_leave_no_traceback():
    process = subprocess.Popen([sys.executable, "-c", WHOLE], stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert (process.communicate()[1], process.returncode) == (STOPPED, 130)
