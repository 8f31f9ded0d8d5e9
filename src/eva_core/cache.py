"""Where caches lie, and how processes share them. Free of torch."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from eva_core.progress import say


def cache_root() -> Path:
    """Where stores live: `EVA_CACHE`, else `~/.cache/eva`."""
    return Path(os.environ.get("EVA_CACHE", "~/.cache/eva")).expanduser()


@contextmanager
def locked(path: Path, tell: Callable[[str], None] = say) -> Iterator[None]:
    """Hold the store for this process; a second process on the same key waits, then finds the work done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"Waiting for another process that writes {path.name}.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
