"""Files that are whole and on disk under their name, or not there: whatever is killed, and however full the disk is."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from glob import escape
from pathlib import Path
from typing import BinaryIO

from eva_core.errors import EvaError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_LONGEST = 180
"""Characters of a name that its temporary name keeps: file systems end names at 255 bytes."""


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, as `replacing` does."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, as `replacing` does."""
    with replacing(path, len(content)) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, size: int | None = None) -> Iterator[BinaryIO]:
    """A new file that takes the name once it is whole and on disk; both it and its name outlast a loss of power.

    Two processes that write one name do not meet: each has a temporary name of its own, and the last one stays. What
    killed processes of this machine left in the folder goes with the first file that a process writes there.

    Args:
        path: The file that is to be.
        size: How many bytes are to come, for messages.
    Raises:
        EvaError: The disk is full, or the folder may not be written to.
    """
    _clear_killed(path.parent)
    temporary = path.with_name(f"{_temporary(path)}{_here()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        # neither a file nor a link of that name is followed, whoever put it there
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise not_written(path, error, size) from error
        raise


def unlinked(path: str, flags: int) -> int:
    """Open a file that is changed in place, for `open(..., opener=unlinked)`: a link of that name is not followed.

    Folders of results, runs and indexes may have been unpacked from what somebody else packed.

    Raises:
        OSError: It is a link, or does not open.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems of networks sync files alone
            raise
    finally:
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of a file left; for those who hold its lock."""
    for leftover in path.parent.glob(f"{escape(_temporary(path))}*.tmp"):
        with suppress(OSError):
            leftover.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        EvaError: The disk is full, or it may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(folder, error) from error


def not_written(path: Path, error: OSError, size: int | None = None) -> EvaError:
    """Say in a line why something could not be written, and what to do.

    Args:
        path: The file or folder.
        error: What the system said.
        size: Bytes that it needs; None: not known.
    """
    if error.errno in READ_ONLY:
        why, advice = (
            str(error.strerror),
            "Choose another place (EVA_CACHE, --output), or ask its owner for permission to write there",
        )
    else:
        why = str(error.strerror or error)
        advice = "Free space there" if error.errno in FULL else "Remove the cause"
    needs = "" if size is None else f"; it needs {_amount(size)}{_free(path)}"
    return EvaError(f"Could not write {path} ({why}{needs}). {advice}: the same command then goes on.")


def free_space(path: Path) -> int | None:
    """Bytes that are free where a file is to lie; None where the system does not say."""
    with suppress(OSError):
        return shutil.disk_usage(path.parent).free
    return None


def refuse_without_room(path: Path, size: int) -> None:
    """Refuse to begin a file that cannot end.

    Raises:
        EvaError: Fewer than `size` bytes are free there.
    """
    free = free_space(path)
    if free is not None and free < size:
        raise not_written(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), size)


def _free(path: Path) -> str:
    free = free_space(path)
    return "" if free is None else f", {_amount(free)} are free"


def _amount(size: int) -> str:
    """A number of bytes in words.

    Examples:
        >>> _amount(2_500_000), _amount(999)
        ('2.5 MB', '999 bytes')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _temporary(path: Path) -> str:
    return f".{path.name[:_LONGEST]}."


@cache
def _here() -> str:
    """A mark of this machine since it was started, and of the space in which its numbers of processes hold."""
    known = [os.uname().nodename]
    with suppress(OSError):  # not on every system
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        known.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256("\0".join(known).encode()).hexdigest()[:6]


@cache  # once for a folder: it may hold a file for each of many thousands of images
def _clear_killed(folder: Path) -> None:
    """Remove what processes of this machine began in a folder and did not end, as they are no more."""
    mark = f".{_here()}-"
    for leftover in folder.glob(f".*{mark}*.tmp"):
        number = leftover.name.rpartition(mark)[2].partition("-")[0]
        if number.isdecimal() and not _lives(int(number)):
            with suppress(OSError):
                leftover.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
