"""Remote slides that only OpenSlide reads: copied to a local cache that is bounded, the longest unused going first.

A copy is a folder with a file `.lease`, locked (flock) by each process that needs it: shared by readers, alone by the
one that fills it. It is called `.part` until it is whole, yet its files have their final sizes from the start, so that
what is under way counts. A lock over the cache is held while room is made and leases are taken, not while bytes come.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Self

from filelock import FileLock

from eva_core.errors import EvaError, UsageError
from eva_core.files.cache import cache_root, locked
from eva_core.files.file_names import below
from eva_core.progress import say
from eva_vision.slides.reading.blobs import Blob, list_objects
from eva_vision.slides.reading.bucket_keys import Object

LIMIT = 100.0
"""Gigabytes that the cache may hold, unless `EVA_SLIDES_CACHE_GB` says otherwise."""
_PIECE = 2**24
_PART = ".part"
_PARTS, _PART_BYTES = 16, 2**14
"""Number and length of the parts by which an object is known, where its server tells no version."""


class CacheFull(EvaError):
    """There is no room for another slide, in the cache or on its disk. When some are closed or removed there may be."""


class Staged:
    """A local copy, which stays for as long as this is open."""

    def __init__(self, path: Path, lease: IO[bytes]) -> None:
        self.path = path
        self._lease = lease

    def close(self) -> None:
        """Let the copy go when room is needed."""
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stage(url: str) -> Staged:
    """Copy a slide here, or find the copy.

    The cache is `$EVA_CACHE/slides`, a folder per slide and version (address, size, ETag and time of each file). A
    slide of several files (MIRAX, DICOM) comes with all of them. A copy appears when it is whole. Processes may share
    the cache: together they keep to its bound.

    Raises:
        CacheFull: What is open leaves no room, or the disk is full.
        EvaError: The slide cannot be fetched, is overwritten meanwhile, or is larger than the cache.
    """
    blob = Blob(url)
    files = _files(blob)
    identity = "\n".join(f"{blob.root}/{key} {file.size} {file.version}" for key, file in sorted(files.items()))
    folder = cache_root() / "slides" / hashlib.sha256(identity.encode()).hexdigest()[:20]
    base = PurePosixPath(blob.key).parent
    total = sum(file.size for file in files.values())
    with locked(folder.parent / f"{folder.name}.stage"):  # others who want this slide wait for it
        with FileLock(folder.parent / ".lock"):
            if folder.is_dir():
                return Staged(folder / PurePosixPath(blob.key).name, _lease(folder))
            _make_room(folder.parent, total, url)
            part = _part(folder)
            places = {key: below(part, str(PurePosixPath(key).relative_to(base))) for key in files}
            lease = _reserve(part, {places[key]: file.size for key, file in files.items()})
        say(f"Copying {url} to {folder} ({total / 1e6:,.0f} MB).")
        try:
            for key, file in files.items():
                _fetch(blob if key == blob.key else Blob(f"{blob.root}/{key}"), file.size, places[key])
            if _files(blob) != files:
                raise EvaError(
                    f"Expected {url} to stay as it was while it was copied, but it was overwritten. Open it again."
                )
            with FileLock(folder.parent / ".lock"):  # so that nobody finds it between its two locks
                part.replace(folder)
                fcntl.flock(lease, fcntl.LOCK_SH)
        except BaseException:  # Ctrl-C too: the room is given back at once
            with FileLock(folder.parent / ".lock"):
                shutil.rmtree(part, ignore_errors=True)
            lease.close()
            raise
    return Staged(folder / PurePosixPath(blob.key).name, lease)


def _files(blob: Blob) -> dict[str, Object]:
    """List all files of a slide, by key."""
    key = PurePosixPath(blob.key)
    files = {blob.key: blob.described()}
    companions = {".mrxs": str(key.with_suffix("")), ".dcm": str(key.parent), ".vms": str(key.parent)}
    if key.suffix.lower() in companions:
        if blob.root.startswith("http"):
            raise UsageError(
                f"Expected one file, but {blob.url} is one of several and web servers list nothing. "
                "Copy the slide to a disk or a bucket."
            )
        files |= list_objects(blob.root, companions[key.suffix.lower()])
    if not files[blob.key].version:
        files[blob.key] = replace(files[blob.key], version=_sampled(blob, files[blob.key].size))
    return files


def _sampled(blob: Blob, size: int) -> str:
    """A hash of parts of an object, in place of the ETag and the time that its server does not tell."""
    firsts = {max(0, min(n * size // _PARTS, size - _PART_BYTES)) for n in range(_PARTS + 1)}
    parts = blob.ranges([(start, min(start + _PART_BYTES, size)) for start in sorted(firsts)]) if size else []
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _lease(folder: Path) -> IO[bytes]:
    """Lease a copy, and mark it as the one used last."""
    lease = (folder / ".lease").open("ab")
    fcntl.flock(lease, fcntl.LOCK_SH)
    os.utime(folder)
    return lease


def _reserve(part: Path, files: dict[Path, int]) -> IO[bytes]:
    """Files of their final sizes, which take no disk yet, in a folder that is locked as long as it fills."""
    try:
        part.mkdir()
        lease = (part / ".lease").open("ab")
        fcntl.flock(lease, fcntl.LOCK_EX)
        for path, size in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.truncate(size)
    except OSError as error:
        raise _unwritten(part, error) from error
    return lease


def _fetch(blob: Blob, size: int, path: Path) -> None:
    spans = [[(start, min(start + _PIECE, size))] for start in range(0, size, _PIECE)]
    try:
        with path.open("r+b") as file:
            for (part,) in _few_at_once(blob, spans):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> EvaError:
    kind = CacheFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else EvaError
    return kind(f"Could not write {path} ({error}). Free space or set EVA_CACHE elsewhere.")


def _few_at_once(blob: Blob, spans: list[list[tuple[int, int]]]) -> Iterator[list[bytes]]:
    """Pieces of a large file: eight under way hold 128 MB, where the usual number would hold gigabytes."""
    for first in range(0, len(spans), 8):
        yield from blob.many(spans[first : first + 8])


def _make_room(root: Path, size: int, url: str) -> None:
    """Remove what killed processes left, then the longest unused copies that nobody has open.

    Raises:
        CacheFull: What is open leaves no room.
        EvaError: The slide is larger than the cache.
    """
    limit = _limit()
    if size > limit:
        raise EvaError(
            f"Expected a slide of at most {_gb(limit)}, which the cache may hold, but {url} has {_gb(size)}. "
            "Set EVA_SLIDES_CACHE_GB higher."
        )
    folders = sorted((f for f in root.iterdir() if f.is_dir()), key=lambda f: (f.suffix != _PART, f.stat().st_mtime))
    sizes = {folder: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) for folder in folders}
    used = sum(sizes.values())
    for folder in folders:
        if used + size <= limit and folder.suffix != _PART:
            return
        with (folder / ".lease").open("ab") as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            # by another name first: where this is killed, what is left is no copy
            shutil.rmtree(folder if folder.suffix == _PART else folder.replace(_part(folder)))
            used -= sizes[folder]
    if used + size > limit:
        raise CacheFull(
            f"Expected room for {_gb(size)} in {root}, but {_gb(used)} of {_gb(limit)} are in use by slides that "
            f"are open or on their way: {url} was not copied. Set EVA_SLIDES_CACHE_GB higher, or keep fewer open."
        )


def _part(folder: Path) -> Path:
    """The folder that this process fills or removes."""
    return folder.with_name(f"{folder.name.partition('.')[0]}.{os.getpid()}{_PART}")


def _limit() -> float:
    """Bytes that the cache may hold."""
    setting = os.environ.get("EVA_SLIDES_CACHE_GB", str(LIMIT))
    try:
        limit = float(setting) * 1e9
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise UsageError(f"Expected EVA_SLIDES_CACHE_GB to be a number of gigabytes above 0, but got {setting}.")
    return limit


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
