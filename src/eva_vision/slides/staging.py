"""Remote slides that only OpenSlide reads: copied to a local cache that is bounded, the longest unused going first."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from eva_core.cache import cache_root, locked
from eva_core.errors import EvaError, UsageError
from eva_core.progress import say
from eva_vision.slides.remote import Blob, list_objects

LIMIT = 100.0
"""Gigabytes that the cache may hold, unless `EVA_SLIDES_CACHE_GB` says otherwise."""
_PIECE = 2**24


class Staged:
    """A local copy, which stays for as long as this is open."""

    def __init__(self, path: Path, lease: IO[bytes]) -> None:
        self.path = path
        self._lease = lease

    def close(self) -> None:
        """Let the copy go when room is needed."""
        self._lease.close()


def stage(url: str) -> Staged:
    """Copy a slide here, or find the copy.

    The cache is `$EVA_CACHE/slides`, a folder per slide and version; a slide of several files (MIRAX, DICOM) comes
    with all of them. A copy appears when it is whole.

    Raises:
        EvaError: The slide cannot be fetched, or does not fit into the cache.
    """
    blob = Blob(url)
    files = _files(blob)
    identity = "\n".join(f"{blob.root}/{key} {size}" for key, size in sorted(files.items()))
    folder = cache_root() / "slides" / hashlib.sha256(identity.encode()).hexdigest()[:20]
    base = PurePosixPath(blob.key).parent
    with locked(folder.parent / f"{folder.name}.stage"):
        if not folder.is_dir():
            _make_room(folder.parent, sum(files.values()), url)
            partial = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(partial, ignore_errors=True)
            say(f"Copying {url} to {folder} ({sum(files.values()) / 1e6:,.0f} MB).")
            for key, size in files.items():
                _fetch(Blob(f"{blob.root}/{key}"), size, partial / PurePosixPath(key).relative_to(base))
            partial.replace(folder)
        lease = (folder / ".lease").open("ab")
        fcntl.flock(lease, fcntl.LOCK_SH)
        os.utime(folder)
    return Staged(folder / PurePosixPath(blob.key).name, lease)


def _files(blob: Blob) -> dict[str, int]:
    """Keys of all files of a slide, and their bytes."""
    key = PurePosixPath(blob.key)
    files = {blob.key: blob.size()}
    companions = {".mrxs": str(key.with_suffix("")), ".dcm": str(key.parent), ".vms": str(key.parent)}
    if key.suffix.lower() in companions:
        if blob.root.startswith("http"):
            raise UsageError(
                f"Expected one file, but {blob.url} is one of several and web servers list nothing. "
                "Copy the slide to a disk or a bucket."
            )
        files |= list_objects(blob.root, companions[key.suffix.lower()])
    return files


def _fetch(blob: Blob, size: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    spans = [[(start, min(start + _PIECE, size))] for start in range(0, size, _PIECE)]
    try:
        with path.open("wb") as file:
            for (part,) in _few_at_once(blob, spans):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise EvaError(f"Could not write {path} ({error}). Free space or set EVA_CACHE elsewhere.") from error


def _few_at_once(blob: Blob, spans: list[list[tuple[int, int]]]) -> Iterator[list[bytes]]:
    """Pieces of a large file: eight under way hold 128 MB, where the usual number would hold gigabytes."""
    for first in range(0, len(spans), 8):
        yield from blob.many(spans[first : first + 8])


def _make_room(root: Path, wanted: int, url: str) -> None:
    """Remove the longest unused copies that nobody has open.

    Raises:
        EvaError: The slide is larger than the cache, or what is open leaves no room.
    """
    said = os.environ.get("EVA_SLIDES_CACHE_GB", str(LIMIT))
    try:
        limit = float(said) * 1e9
    except ValueError:
        raise UsageError(f"Expected EVA_SLIDES_CACHE_GB to be a number of gigabytes, but got {said}.") from None
    copies = sorted((f for f in root.iterdir() if f.is_dir() and f.suffix != ".part"), key=lambda f: f.stat().st_mtime)
    sizes = {copy: sum(f.stat().st_size for f in copy.rglob("*") if f.is_file()) for copy in copies}
    held = sum(sizes.values())
    for copy in copies:
        if held + wanted <= limit:
            return
        with (copy / ".lease").open("ab") as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(copy)
            held -= sizes[copy]
    if held + wanted > limit:
        raise EvaError(
            f"Expected room for {wanted / 1e9:.1f} GB in {root}, but {held / 1e9:.1f} of {limit / 1e9:.1f} GB are "
            f"in use by open slides: {url} was not copied. Set EVA_SLIDES_CACHE_GB higher."
        )
