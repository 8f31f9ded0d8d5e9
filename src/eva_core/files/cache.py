"""Places of caches, and how processes share them. Free of torch."""

import errno
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from eva_core.errors import EvaError
from eva_core.files.atomic_files import READ_ONLY, make_folder, not_written
from eva_core.progress import say

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What `flock` says where a file system has none."""
_announced: set[int] = set()
"""Devices of the file systems without locks that the user was told of."""


def cache_root() -> Path:
    """Root folder of the caches: `EVA_CACHE`, else `~/.cache/eva`.

    Raises:
        EvaError: The user has no home folder, as in a container that runs under a number.
    """
    root = os.path.expanduser(os.environ.get("EVA_CACHE", "~/.cache/eva"))
    if root.startswith("~"):
        raise EvaError(f"Expected a home folder for the cache, but {root} leads to none. Set EVA_CACHE to a folder.")
    return Path(root)


@contextmanager
def locked(path: Path, tell: Callable[[str], None] = say, what: str | None = None) -> Iterator[int | None]:
    """Hold a name for this process; a second one waits, then finds the work done. The lock dies with its process.

    Where the file system has no locks, processes of this machine wait for each other by a lock in the folder for
    temporary files, and those of other machines may do the same work beside this one: as every file appears under its
    name whole, nothing but the time is lost.

    Args:
        path: What is written under the lock.
        tell: Receives lines for the user.
        what: The name for those; that of the path unless given.
    Yields:
        The open file that holds the lock, which a process that inherits it holds too; None where there are no locks.
    Raises:
        EvaError: The folder may not be written to, or its disk is full.
    """
    make_folder(path.parent)
    waiting = f"Waiting for another process that writes {what or path.name}."
    with ExitStack() as held:
        handle = _acquired(held, Path(f"{path}.lock"), lambda: tell(waiting))
        if handle is None:
            with suppress(EvaError):
                if (lock := _local_lock(path)) is not None:
                    handle = _acquired(held, lock, lambda: tell(waiting))
            _tell_once(path.parent, tell, "other processes" if handle is None else "processes of other machines")
        yield handle


def _acquired(held: ExitStack, lock: Path, waits: Callable[[], None]) -> int | None:
    """Wait for a lock; its file goes with `held`. None where the file system has no locks."""
    while True:
        handle, is_held = _open(lock), False
        try:
            taken = _taken(handle, lock, waits)
            is_held = taken and _has_name(handle, lock)
        finally:
            if not is_held:
                os.close(handle)
        if is_held:
            held.callback(_release, handle, lock)
            return handle
        if not taken:
            return None


def _open(lock: Path) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in READ_ONLY:
            with suppress(OSError):  # another user's, in a folder that both write to
                return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        raise not_written(lock, error) from error


def _taken(handle: int, lock: Path, waits: Callable[[], None]) -> bool:
    """Wait for the lock of an open file; False where its file system has none."""
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise EvaError(f"Could not take {lock} ({error.strerror}). Run the same command again.") from error
    return True


def _has_name(handle: int, lock: Path) -> bool:
    """Whether an open file still has its name: whoever held the lock before has removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(lock))
    except FileNotFoundError:
        return False


def _release(handle: int, lock: Path) -> None:
    with suppress(OSError):
        lock.unlink()
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)  # a forked loader may hold the file open for longer
    os.close(handle)


def _tell_once(folder: Path, tell: Callable[[str], None], others: str) -> None:
    """Say of each file system once who is not seen there."""
    device = os.stat(folder).st_dev
    if device not in _announced:
        _announced.add(device)
        tell(f"The file system of {folder} has no locks: {others} are not seen, and may do the same work twice.")


def _local_lock(path: Path) -> Path | None:
    """A lock file of the same meaning in a folder of this user alone; None where there can be none."""
    folder = Path(tempfile.gettempdir(), f"eva-locks-{os.getuid()}")
    with suppress(OSError):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        state = folder.lstat()
        if stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid():  # and no link that somebody laid there
            return folder / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.lock"
    return None
