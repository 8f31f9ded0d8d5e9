"""Indexing many slides: in processes or over a cluster, going on after a kill, whatever one slide does."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from eva_core.errors import EvaError, some
from eva_core.files.addresses import public_address, without_secrets
from eva_core.progress import Bar, say
from eva_core.ray_cluster import each_on_ray
from eva_core.worker_processes import spawn_context
from eva_vision.slides.changed_slides import State, head_hash, sample_hash, state_of
from eva_vision.slides.dicom_series import one_per_series
from eva_vision.slides.index import Entry, Index, Writer
from eva_vision.slides.reading.blobs import is_url
from eva_vision.slides.reading.logins import logins, take_login, take_logins
from eva_vision.slides.reading.readers import reader
from eva_vision.slides.reading.verify import open_verified
from eva_vision.slides.tissue_detection import described, tissue_mask

_AT_ONCE = 32
_UNKNOWN = State(0, 0)


@dataclass(frozen=True)
class Indexed:
    """The answer of a worker: fields of `Entry`, and the blobs."""

    entry: dict[str, Any]
    state: bytes = b""
    mask: bytes = b""


Work = Callable[[str], Indexed]
Runner = Callable[[Work, Sequence[str]], Iterator[Indexed]]


def build(
    paths: Sequence[str], output: Path, tissue: str, mpp: float | None, run: Runner, root: str | None = None
) -> Index:
    """Index the slides that are new, changed, or failed before, or took another mpp from `mpp`.

    Of a DICOM series, which is one slide in several files, one file stands for all. A file that the index has by
    another name already is left out.

    Args:
        paths: Files and URLs.
        output: Folder of the index; others that are in it stay.
        tissue: A name of the group `eva.tissue`.
        mpp: Micrometres per pixel of slides that state none.
        run: `here`, `in_processes` or `on_ray`.
        root: The folder that was listed: slides are called by their paths below; none: that which holds all.

    Raises:
        UsageError: No such method, or the folder cannot be written by this process.
    """
    method = described(tissue)
    paths = [_absolute(path) for path in paths]
    root = _common(paths) if root is None else _absolute(root)
    with Writer(output, tissue, method) as writer:
        paths = _once(paths, writer.entries)
        done = [path for path, entry in writer.entries.items() if not entry.error]
        current = _current(one_per_series(paths, done), writer, mpp)
        todo = [path for path, unchanged in current.items() if not unchanged]
        writer.expect(todo)
        with Bar("Indexing", len(todo), "slides") as bar:
            for indexed in run(partial(index_slide, tissue=tissue, mpp=mpp, server_logins=logins()), todo):
                writer.add({**indexed.entry, "root": root}, indexed.state, indexed.mask)
                bar.advance(1)
    return Index(output)


def _absolute(path: str) -> str:
    return take_login(path) if is_url(path) else str(Path(path).absolute())


def _common(paths: Sequence[str]) -> str:
    """The innermost folder that holds all."""
    levels = zip(*(path.split("/")[:-1] for path in paths), strict=False)
    return "/".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))


def _once(paths: Sequence[str], entries: Mapping[str, Entry]) -> list[str]:
    """Leave out files that the index has by another name."""
    new = [path for path in paths if path not in entries and not is_url(path)]
    old = {_file(path) for path, entry in entries.items() if not entry.error and not is_url(path)} if new else set()
    again = {path for path in new if _file(path) in old - {None}}
    if again:
        say(f"{len(again)} slides are in the index by another name: {some(sorted(again))}.")
    return [path for path in paths if path not in again]


def _file(path: str) -> tuple[int, int] | None:
    """Identify a file by device and inode; None where that cannot be told."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return (info.st_dev, info.st_ino) if info.st_ino else None


def index_slide(path: str, tissue: str, mpp: float | None, server_logins: dict[str, str] | None = None) -> Indexed:
    """Read what an index keeps of one slide, or the reason why it cannot be had.

    Args:
        path: File or URL.
        tissue: A name of the group `eva.tissue`.
        mpp: Micrometres per pixel, where the file states none.
        server_logins: Logins of web servers, by their address.
    """
    take_logins(server_logins or {})
    state = _UNKNOWN
    try:
        state = state_of(path)
        indexed = _indexed(path, state, tissue, mpp)
        if state_of(path) != state:
            raise EvaError(f"Expected {path} to stay as it is, but it was written while it was read. Index it again.")
        return indexed
    except Exception as error:  # a slide may be damaged in any way
        return failure(path, error, state)


def failure(path: str, error: Exception, state: State = _UNKNOWN) -> Indexed:
    """Describe a slide that does not work, with the reason."""
    reason = str(error) if isinstance(error, EvaError | OSError) else f"{type(error).__name__}: {error}"
    line = without_secrets(" ".join(reason.split()))
    return Indexed({"path": public_address(path), **state._asdict(), "error": line})


def in_this_process(work: Work, paths: Sequence[str]) -> Iterator[Indexed]:
    """Work on one slide after another in this process."""
    return map(work, paths)


def on_this_machine(workers: int) -> Runner:
    """Choose how slides are worked on: in `workers` processes; one works in this process."""
    return in_this_process if workers == 1 else partial(in_processes, workers=workers)


def in_processes(work: Work, paths: Sequence[str], workers: int) -> Iterator[Indexed]:
    """Work on slides in processes of their own; where one dies, only the slide that killed it fails."""
    waiting, suspects = deque(paths), deque[str]()
    while waiting:
        running: dict[Future[Indexed], str] = {}
        with _pool(min(workers, len(waiting))) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < 2 * workers:
                        running[pool.submit(work, waiting[0])] = waiting[0]
                        waiting.popleft()
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        indexed = done.result()
                        del running[done]
                        yield indexed
            except BrokenProcessPool:
                suspects += running.values()
    while suspects:  # one at a time, so that it is known which
        with _pool(1) as pool:
            try:
                while suspects:
                    indexed = pool.submit(work, suspects[0]).result()
                    suspects.popleft()
                    yield indexed
            except BrokenProcessPool:
                died = EvaError("The process that read it died. Leave the slide out, or give more memory.")
                yield failure(suspects.popleft(), died)


def on_ray(work: Work, paths: Sequence[str], address: str | None) -> Iterator[Indexed]:
    """Work on slides over a Ray cluster that reaches the same files, given as they are done.

    Args:
        work: What is done with each slide.
        paths: Files and URLs.
        address: Address of the cluster; None: the one that RAY_ADDRESS names, else a local one.

    Raises:
        UsageError: Ray is not installed.
    """
    outcomes = each_on_ray(work, paths, address=address)
    return (failure(path, outcome) if isinstance(outcome, Exception) else outcome for path, outcome in outcomes)


def _pool(workers: int) -> ProcessPoolExecutor:
    """Start workers; spawned, for connections to storage do not survive a fork."""
    return ProcessPoolExecutor(workers, spawn_context(), _begin)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _current(paths: Sequence[str], writer: Writer, mpp: float | None) -> dict[str, bool]:
    """Whether each slide is in the index as it is now."""

    def unchanged(path: str) -> bool:
        entry = writer.entries.get(path)
        if entry is None or entry.error or (mpp is not None and entry.given_mpp not in (None, mpp)):
            return False
        try:
            same = state_of(path) == State(entry.bytes, entry.modified, entry.version)
        except EvaError:
            return False
        return same and writer.is_intact(entry)

    with ThreadPoolExecutor(_AT_ONCE) as pool:  # of a bucket, thousands are asked for
        return dict(zip(paths, pool.map(unchanged, paths), strict=True))


def _indexed(path: str, state: State, tissue: str, mpp: float | None) -> Indexed:
    slide, agreed = open_verified(path, mpp)
    with slide:
        mask = tissue_mask(slide, tissue)
        entry = {
            "path": path,
            **state._asdict(),
            "sha256": head_hash(path, state.bytes),
            "sample": sample_hash(path, state.bytes),
            "width": slide.levels[0].width,
            "height": slide.levels[0].height,
            "mpp": slide.mpp,
            "given_mpp": mpp if slide.stated_mpp is None else None,
            "vendor": slide.vendor,
            "levels": tuple((level.width, level.height) for level in slide.levels),
            "area": mask.area,
            "reader": slide.reader,
            "agreed": agreed,
        }
        reader_state = reader(slide.reader).state(slide)
    return Indexed(entry, reader_state, mask.to_bytes())
