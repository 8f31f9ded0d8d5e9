"""SHA-256 of what files hold. A file is read once; later its size, times and inode tell that it is still the same.

What is known lies in `EVA_CACHE/hashes`, one file for the files of one dataset. It may be missing, damaged or not
writable: then files are read again.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from eva_core.errors import EvaError
from eva_core.files.atomic_files import make_folder, write_bytes
from eva_core.files.cache import cache_root
from eva_core.progress import Bar

UNREADABLE = "unreadable"
"""In place of the hash of a file that does not read."""
SETTLED = 3.0
"""Seconds after a change from which times tell of the next one: file systems round them, FAT to 2 seconds."""
_THREADS = 8
_SHOWN = 2**28  # bytes from which reading takes long enough for a bar
_BLOCKS, _BLOCK = 64, 2**18  # of a large file that is sampled

State = tuple[int, ...]
"""Size, modification and change time in nanoseconds, inode."""


def whole(path: Path) -> str:
    """SHA-256 of all bytes of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sampled(path: Path) -> str:
    """SHA-256 of a file up to 16 MiB; of a larger one, as slides are, of its size and 64 blocks from end to end."""
    size = path.stat().st_size
    if size <= _BLOCKS * _BLOCK:
        return whole(path)
    digest = hashlib.sha256(f"sampled {size}\n".encode())
    with path.open("rb") as handle:
        for number in range(_BLOCKS):
            handle.seek((size - _BLOCK) * number // (_BLOCKS - 1))
            digest.update(handle.read(_BLOCK))
    return digest.hexdigest()


def file_hashes(paths: Iterable[Path], owner: str, hashed: Callable[[Path], str] = whole) -> dict[Path, str]:
    """The hash of each file, `UNREADABLE` where it does not read.

    Args:
        paths: The files.
        owner: Whose files they are; what is known of another owner's files is kept apart.
        hashed: `whole` or `sampled`.
    """
    states = {path: _state(path) for path in dict.fromkeys(paths)}
    if not states:
        return {}
    record = _record_of(states, f"{owner} {hashed.__name__}")
    known = _load(record)
    hashes, todo = {}, []
    for path, state in states.items():
        entry = known.get(os.path.abspath(path))
        if state is not None and entry is not None and entry[:-1] == [*state]:
            hashes[path] = entry[-1]
        else:
            todo.append(path)
    if todo:
        hashes.update(_read(todo, states, owner, hashed))
        _save(record, states, hashes)
    return {path: hashes[path] for path in states}


def _read(
    paths: list[Path], states: dict[Path, State | None], owner: str, hashed: Callable[[Path], str]
) -> dict[Path, str]:
    """Hash files, several at a time; `states` forgets those whose times may not tell of the next change."""
    hashes = {}
    long = sum(state[0] for path in paths if (state := states[path]) is not None) >= _SHOWN
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        Bar(f"{owner}: reading what is new or changed", len(paths), "files", visible=long) as bar,
    ):
        for path, value in zip(paths, pool.map(lambda path: _hash(path, hashed), paths), strict=True):
            hashes[path] = value
            bar.advance(1)
    settled = time.time_ns() - int(SETTLED * 1e9)
    for path in paths:
        state = _state(path)
        if state is None or state != states[path] or state[2] > settled or hashes[path] == UNREADABLE:
            states[path] = None
    return hashes


def _hash(path: Path, hashed: Callable[[Path], str]) -> str:
    try:
        return hashed(path)
    except OSError:
        return UNREADABLE


def _state(path: Path) -> State | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino


def _record_of(paths: Iterable[Path], owner: str) -> Path:
    """Path of the record of these files, by their common folder and their owner."""
    common = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    name = hashlib.sha256(os.fsencode(f"{common}\0{owner}")).hexdigest()[:24]
    return cache_root() / "hashes" / f"{name}.json"


def _load(record: Path) -> dict[str, list[Any]]:
    """Read what is known, by absolute path: a state and a hash; nothing where the file is missing or damaged."""
    try:
        check, _, content = record.read_bytes().partition(b"\n")
        known: dict[str, list[Any]] = {}
        if hashlib.sha256(content).hexdigest().encode() == check:
            known = json.loads(content)
        return known
    except (OSError, ValueError):
        return {}


def _save(record: Path, states: dict[Path, State | None], hashes: dict[Path, str]) -> None:
    content = json.dumps(
        {os.path.abspath(path): [*state, hashes[path]] for path, state in states.items() if state is not None}
    ).encode()
    with suppress(EvaError):  # a full disk or a cache of somebody else's: the files are read again
        make_folder(record.parent)
        write_bytes(record, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
