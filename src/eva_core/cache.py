"""Where caches lie, and how processes share them. Free of torch."""

import errno
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from eva_core.atomic_files import READ_ONLY, make_folder, not_written
from eva_core.errors import EvaError
from eva_core.progress import say

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What `flock` says where a file system has none."""
_told: set[int] = set()


def cache_root() -> Path:
    """Where stores live: `EVA_CACHE`, else `~/.cache/eva`."""
    return Path(os.environ.get("EVA_CACHE", "~/.cache/eva")).expanduser()


@contextmanager
def locked(path: Path, tell: Callable[[str], None] = say) -> Iterator[None]:
    """Hold a name for this process; a second one waits, then finds the work done. The lock dies with its process.

    Where the file system has no locks, processes of this machine wait for each other by a lock in the folder for
    temporary files, and those of other machines may do the same work beside this one: as every file appears under its
    name whole, nothing but the time is lost.

    Raises:
        EvaError: The folder may not be written to, or its disk is full.
    """
    make_folder(path.parent)
    with ExitStack() as held:
        handle = _open(Path(f"{path}.lock"))
        held.callback(os.close, handle)
        if _taken(handle, path, tell):
            held.callback(_release, handle)
        else:
            _take_local(held, path, tell)
        yield


def _open(lock: Path) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in READ_ONLY:
            with suppress(OSError):  # another user's, in a folder that both write to
                return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        raise not_written(lock, error) from error


def _taken(handle: int, path: Path, tell: Callable[[str], None]) -> bool:
    """Wait for the lock of an open file; False where its file system has none."""
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"Waiting for another process that writes {path.name}.")
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise EvaError(f"Could not lock {path} ({error.strerror}). Run the same command again.") from error
    return True


def _release(handle: int) -> None:
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)  # a forked loader may hold the file open for longer


def _take_local(held: ExitStack, path: Path, tell: Callable[[str], None]) -> None:
    """Wait for the processes of this machine, if that can be, and say once for each file system who is not seen."""
    local, others = _open_local(path), "other processes"
    if local is not None:
        held.callback(os.close, local)
        if _taken(local, path, tell):
            held.callback(_release, local)
            others = "processes of other machines"
    device = os.stat(path.parent).st_dev
    if device not in _told:
        _told.add(device)
        tell(f"The file system of {path.parent} has no locks: {others} are not seen, and may do the same work twice.")


def _open_local(path: Path) -> int | None:
    """A lock of the same meaning in a folder of this user alone; None where there can be none."""
    folder = Path(tempfile.gettempdir(), f"eva-locks-{os.getuid()}")
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    with suppress(OSError):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():  # and no link that somebody laid there
            return os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return None
