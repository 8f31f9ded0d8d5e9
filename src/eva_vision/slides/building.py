"""Indexing many slides: in processes or over a cluster, going on after a kill, whatever one slide does."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eva_core import registry
from eva_core.cluster import each_on_ray
from eva_core.errors import EvaError
from eva_core.interrupts import spawn_context
from eva_core.progress import Bar
from eva_vision.slides.dicom import one_per_series
from eva_vision.slides.index import Entry, Index, Writer
from eva_vision.slides.reader import agrees, by_openslide, open_slide
from eva_vision.slides.remote import Blob, head, is_url
from eva_vision.slides.slide import Slide
from eva_vision.slides.tiff import TiffSlide, layout_of
from eva_vision.slides.tissue import tissue_mask


@dataclass(frozen=True)
class Indexed:
    """What a worker found: fields of `Entry`, and the blobs."""

    entry: dict[str, Any]
    layout: bytes = b""
    mask: bytes = b""


Work = Callable[[str], Indexed]
Runner = Callable[[Work, Sequence[str]], Iterator[Indexed]]


def build(paths: Sequence[str], output: Path, tissue: str, mpp: float | None, run: Runner) -> Index:
    """Index the slides that are new, changed, or failed before. A slide at a URL never counts as changed.

    Of a DICOM series, which is one slide in several files, one file stands for all.

    Args:
        paths: Files and URLs.
        output: Folder of the index; others that are in it stay.
        tissue: A name of the group `eva.tissue`.
        mpp: Of slides that state none.
        run: `here`, `in_processes` or `on_ray`.

    Raises:
        UsageError: No such method, or the folder cannot be written by this process.
    """
    registry.tissue.load(tissue)
    paths = [path if is_url(path) else str(Path(path).absolute()) for path in paths]
    with Writer(output, tissue) as writer:
        done = [path for path, entry in writer.known.items() if not entry.error]
        todo = [path for path in one_per_series(paths, done) if not _current(writer.known.get(path), path)]
        with Bar("Indexing", len(todo), "slides") as bar:
            for found in run(partial(index_slide, tissue=tissue, mpp=mpp), todo):
                writer.add(found.entry, found.layout, found.mask)
                bar.advance(1)
    return Index(output)


def index_slide(path: str, tissue: str, mpp: float | None) -> Indexed:
    """All of one slide, or the reason why it cannot be had."""
    try:
        size, modified = _identity(path)
    except (EvaError, OSError) as error:
        return failure(path, error)
    try:
        return _indexed(path, size, modified, tissue, mpp)
    except Exception as error:  # a slide may be damaged in any way
        return failure(path, error, size, modified)


def failure(path: str, error: Exception, size: int = 0, modified: int = 0) -> Indexed:
    """What is kept of a slide that does not work."""
    reason = str(error) if isinstance(error, EvaError | OSError) else f"{type(error).__name__}: {error}"
    return Indexed({"path": path, "bytes": size, "modified": modified, "error": " ".join(reason.split())})


def here(work: Work, paths: Sequence[str]) -> Iterator[Indexed]:
    """One slide after another in this process."""
    return map(work, paths)


def on_this_machine(workers: int) -> Runner:
    """In so many processes; with one, in this."""
    return here if workers == 1 else partial(in_processes, workers=workers)


def in_processes(work: Work, paths: Sequence[str], workers: int) -> Iterator[Indexed]:
    """Slides in processes of their own, as they are done; where one dies, only the slide that killed it fails."""
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
                        found = done.result()
                        del running[done]
                        yield found
            except BrokenProcessPool:
                suspects += running.values()
    while suspects:  # one at a time, so that it is known which
        with _pool(1) as pool:
            try:
                while suspects:
                    found = pool.submit(work, suspects[0]).result()
                    suspects.popleft()
                    yield found
            except BrokenProcessPool:
                died = EvaError("The process that read it died. Leave the slide out, or give more memory.")
                yield failure(suspects.popleft(), died)


def on_ray(work: Work, paths: Sequence[str], address: str | None) -> Iterator[Indexed]:
    """Slides over a Ray cluster that reaches the same files, as they are done.

    Args:
        address: Of the cluster; None: the one that RAY_ADDRESS names, else a local one.

    Raises:
        UsageError: Ray is not installed.
    """
    outcomes = each_on_ray(work, paths, address=address)
    return (failure(path, found) if isinstance(found, Exception) else found for path, found in outcomes)


def _pool(workers: int) -> ProcessPoolExecutor:
    """Spawned, for connections to storage do not survive a fork."""
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


def _identity(path: str) -> tuple[int, int]:
    """Bytes, and time of modification in nanoseconds."""
    if is_url(path):
        return Blob(path).size(), 0
    info = os.stat(path)
    return info.st_size, info.st_mtime_ns


def _current(entry: Entry | None, path: str) -> bool:
    """Whether a slide is in the index as it is now."""
    if entry is None or entry.error:
        return False
    try:
        return is_url(path) or (entry.bytes, entry.modified) == _identity(path)
    except OSError:
        return False


def _indexed(path: str, size: int, modified: int, tissue: str, mpp: float | None) -> Indexed:
    slide, agreed = _open(path, mpp)
    with slide:
        mask = tissue_mask(slide, tissue)
        entry = {
            "path": path,
            "bytes": size,
            "modified": modified,
            "sha256": hashlib.sha256(head(path, size) + str(size).encode()).hexdigest(),
            "width": slide.levels[0].width,
            "height": slide.levels[0].height,
            "mpp": slide.mpp,
            "vendor": slide.vendor,
            "levels": tuple((level.width, level.height) for level in slide.levels),
            "area": mask.area,
            "reader": "fast" if isinstance(slide, TiffSlide) else "openslide",
            "agreed": agreed,
        }
        layout = slide.layout.to_bytes() if isinstance(slide, TiffSlide) else b""
    return Indexed(entry, layout, mask.to_bytes())


def _open(path: str, mpp: float | None) -> tuple[Slide, bool | None]:
    """By the fast path, unless OpenSlide gives other pixels; and whether it gives the same."""
    layout = layout_of(path)
    if layout is None:
        return by_openslide(path, mpp), None
    fast = open_slide(path, layout.mpp or mpp, layout=layout)
    try:
        agreed = agrees(fast)
    except EvaError:
        fast.close()
        raise
    if agreed is False:
        fast.close()
        return by_openslide(path, mpp), agreed
    return fast, agreed
