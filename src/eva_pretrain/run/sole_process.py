"""Lock that lets one process at a time work in a folder; the system releases it when its owner dies."""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from eva_core.errors import UsageError
from eva_core.files.atomic_files import unlinked

LOCK = ".running"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_HELD = {errno.EACCES, errno.EAGAIN}


@contextmanager
def sole_process(folder: Path) -> Iterator[None]:
    """Hold a folder for this process.

    The lock is a POSIX record lock: it belongs to this process alone, so that its forks do not hold it once it is
    killed, and it holds for other machines where the file system shares locks. On a file system without locks, the
    lock file names the owner; an owner of this machine that is no longer running holds nothing.

    Args:
        folder: An existing folder.

    Raises:
        UsageError: Another process holds it (names host and process).
    """
    with open(folder / LOCK, "a+", encoding="utf-8", opener=unlinked) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise _held(folder, _owner(file)) from None
            if error.errno not in _NO_LOCKS:
                raise
            if _alive(owner := _owner(file)):
                raise _held(folder, owner, f", or delete {folder / LOCK} if it is no more") from None
        _write(file, {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())})
        try:
            yield
        finally:
            file.truncate(0)  # the lock itself goes with the file


def is_held(folder: Path) -> bool:
    """Whether another process works in a folder, as far as its file system has locks."""
    try:
        with open(folder / LOCK, "rb", opener=unlinked) as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _HELD
    return False


def _held(folder: Path, owner: dict[str, object], more: str = "") -> UsageError:
    who = f"process {owner['pid']} on {owner['host']}" if owner else "another process"
    return UsageError(
        f"Expected to be alone in {folder}, but {who} works in it. Wait for it{more}, or give another --output."
    )


def _owner(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    try:
        owner = json.loads(file.read())
        return owner if {"host", "pid", "started"} <= owner.keys() else {}
    except (ValueError, AttributeError):  # the owner has not written its name yet
        return {}


def _write(file: IO[str], owner: dict[str, object]) -> None:
    file.truncate(0)
    file.write(json.dumps(owner))
    file.flush()


def _alive(owner: dict[str, object]) -> bool:
    """Whether an owner may still be running; on another machine that cannot be known."""
    if not owner:
        return False
    return owner["host"] != socket.gethostname() or owner["started"] == _started(owner["pid"])


def _started(pid: object) -> str | None:
    """Start time of a process of this machine in clock ticks: process numbers are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
