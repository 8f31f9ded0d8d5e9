"""Ctrl-C, SIGTERM and SIGUSR1: each stops a command once, in the process that runs it, and is never lost.

Python raises KeyboardInterrupt wherever the program is, also where nobody hands it on: in hooks of a fork, in
`__del__`, in callbacks. It then prints it and goes on. Such a one is raised again a moment later. Nothing is raised
amid the hooks of a fork: `logging` would not let go of its lock there, and the next thread that logs would wait for
ever.

Where there is something to save, `deferred` lets the work come to an end in an orderly way. A second Ctrl-C, or the
same signal again after some seconds, stops at once: what is kept on disk is whole at any time. SIGTERM after SIGUSR1,
by which SLURM first warns of the end of a job's time, does not break off what is being saved.
"""

import logging  # noqa: F401  (its hooks of a fork are there before ours, which stand round them)
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
AGAIN_LATER = 75
"""Exit code of a command that a scheduler stopped and is to start again (EX_TEMPFAIL of sysexits.h)."""
_IMPATIENCE = 3.0
"""Seconds after a signal in which SIGTERM and SIGUSR1 are the same."""
_SAME = 0.1
"""Seconds after a signal in which Ctrl-C is the same, sent to us and to our group."""
_AGAIN = 0.02
"""Seconds until one that was lost is raised again."""


class Stopped(KeyboardInterrupt):
    """A stop of work that has saved what it had.

    Attributes:
        exit_code: Exit code of the command.
    """

    def __init__(self, line: str, exit_code: int) -> None:
        """Keep what to say.

        Args:
            line: What is kept, and how to go on; empty: another process says it.
            exit_code: Exit code of the command.
        """
        super().__init__(line)
        self.exit_code = exit_code


class _State:
    """State of this process: what it has received and when, what was there before, and whose it is."""

    process: int | None = None
    whole_process = False
    forking = False
    deferred: str | None = None
    received: int | None = None
    at = 0.0
    before: dict[int, Any] = {}  # noqa: RUF012  (of the one instance)
    unraisable: Callable[..., Any] = sys.__unraisablehook__
    in_threads: Callable[..., Any] = threading.__excepthook__


_state = _State()


@contextmanager
def handled(whole_process: bool) -> Iterator[None]:
    """Handle the signals within; elsewhere than in the main thread, nothing changes, nor within a command of a command.

    Args:
        whole_process: The process ends after it, and ends in peace: later signals are ignored.
    """
    if _state.process == os.getpid() or not install():  # else what was there before would be taken for ours
        yield
        return
    _state.whole_process = whole_process
    try:
        yield
    finally:
        if whole_process:
            ignore()
        else:
            _restore()


def install() -> bool:
    """Handle the signals from here on, but one that is ignored, as below nohup. Returns whether that is possible."""
    if threading.current_thread() is not threading.main_thread():
        return False
    _state.process, _state.received = os.getpid(), None
    _state.before = {number: signal.getsignal(number) for number in (*_SIGNALS, signal.SIGALRM)}
    _state.unraisable, _state.in_threads = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = _unraisable, _in_thread
    signal.signal(signal.SIGALRM, _raise_again)
    for number in _SIGNALS:
        if _state.before[number] is not signal.SIG_IGN:
            signal.signal(number, _received)
    return True


def ignore() -> None:
    """Ignore the signals from here on: the command has ended, or is saying why it does."""
    if _state.process == os.getpid():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)


def exit_code(number: int) -> int:
    """Exit code of a command that a signal stopped: 130 for Ctrl-C, 143 for SIGTERM, 75 for SIGUSR1."""
    return AGAIN_LATER if number == signal.SIGUSR1 else 128 + number


def stopped_by() -> int | None:
    """Number of the signal that stops this command; None where there was none."""
    return _state.received if _state.process == os.getpid() else None


@contextmanager
def deferred(until: str) -> Iterator[None]:
    """Raise nothing within: work asks `stopped_by`, saves what it has, and raises KeyboardInterrupt itself.

    Args:
        until: What comes before the stop, for the user; empty: another process says it.

    Raises:
        KeyboardInterrupt: A signal was received, and the work came to its end.
    """
    before, _state.deferred = _state.deferred, until
    try:
        yield
    finally:
        _state.deferred = before
    check()


def check() -> None:
    """Raise what was received and swallowed by something in between; for loops that take long.

    Raises:
        KeyboardInterrupt: A signal was received.
    """
    if stopped_by() is not None and _state.deferred is None:
        raise KeyboardInterrupt


def _received(number: int, _: FrameType | None) -> None:
    if os.getpid() != _state.process:  # forked a moment ago
        return
    now = time.monotonic()
    if _state.received is None:
        if _state.deferred:
            _write(f"eva: Stopping {_state.deferred}. Ctrl-C again stops at once.")
    elif now - _state.at < (_SAME if number == signal.SIGINT else _IMPATIENCE):
        return
    elif number in (signal.SIGINT, _state.received):
        _stop_at_once(number)
    _state.received, _state.at = number, now
    _raise_again()


def _stop_at_once(number: int) -> None:
    """End the process without another step; within a larger program, no longer defer."""
    _state.deferred = None
    if not _state.whole_process:
        return
    for child in multiprocessing.active_children():
        child.terminate()
    _write("eva: Stopped at once. Finished parts are kept: the same command goes on from there.")
    os._exit(128 + number)


def _write(line: str) -> None:
    """Write a line to stderr amid anything: on a terminal in place of the live line, with the cursor shown."""
    before = "\r\x1b[2K\x1b[?25h" if os.isatty(2) else ""
    with suppress(OSError):
        os.write(2, f"{before}{line}\n".encode())


def _raise_again(*_: object) -> None:
    if _state.forking:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    else:
        check()


def _unraisable(lost: Any) -> None:
    if stopped_by() is None:
        _state.unraisable(lost)
    elif isinstance(lost.exc_value, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    # all else follows from the stop


def _in_thread(lost: Any) -> None:
    if stopped_by() is None:
        _state.in_threads(lost)


def _before_fork() -> None:
    _state.forking = True


def _after_fork() -> None:
    _state.forking = False


def _in_fork() -> None:
    """Leave Ctrl-C and SIGUSR1 to the parent, and end at SIGTERM as any process does."""
    _state.forking = False
    if _state.process is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # SLURM sends it to all processes of a step
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _restore() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in _state.before.items():
        signal.signal(number, handler)
    sys.unraisablehook, threading.excepthook = _state.unraisable, _state.in_threads
    _state.process = _state.received = _state.deferred = None


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_fork)
