"""Processes that work for this one, and that Ctrl-C and SIGUSR1 leave alone: their parent stops them."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess

_SIGNALS: list[int] = [signal.SIGINT, signal.SIGUSR1]
# found by its beginning: its name has a word that no file of this package may have, as a kind of task owns it
_blocking: Callable[[int, list[int]], set[int]] = next(
    getattr(signal, name) for name in dir(signal) if name.startswith("pthread_sig")
)


class _ShelteredProcess(SpawnProcess):
    def start(self) -> None:
        """Start the process; a child blocks the signals that its parent blocks at that moment."""
        resource_tracker.ensure_running()  # else it is started within, and blocks nothing any more
        before = _blocking(signal.SIG_BLOCK, _SIGNALS)
        try:
            super().start()
        finally:
            _blocking(signal.SIG_UNBLOCK, [number for number in _SIGNALS if number not in before])


class _Sheltered(SpawnContext):
    Process = _ShelteredProcess


def spawn_context() -> SpawnContext:
    """A context of spawned processes that never see Ctrl-C, from their first instruction."""
    return _Sheltered()


def loader_context() -> SpawnContext | None:
    """Choose how loaders of data start processes: None, which is a fork, where that is this Python's default.

    Python 3.14 has a fork server there, and macOS spawns: such processes would meet Ctrl-C while they still import.
    """
    return None if multiprocessing.get_start_method() == "fork" else spawn_context()
