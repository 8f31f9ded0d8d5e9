"""Base of streams of patches: batches by number, and a record of slides that cannot be read.

A slide (or image file) that failed in batch b is not sampled from batch b + `HORIZON` on. Not at once, because other
workers are already reading the batches in between without knowing of the failure: so the stream is the same for any
number of workers, as long as they read less than `HORIZON` batches ahead.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from typing_extensions import override

from eva_pretrain.data.batch_order import Order
from eva_vision.slides.names import called, patient
from eva_vision.slides.reading.blobs import is_url

HORIZON = 128
_NEVER = 2**31 - 1


class Batch(NamedTuple):
    """Batch of patches; arrays without a shape are of (B,).

    Attributes:
        pixels: uint8 (B, 3, size, size), channels last in memory.
        number: Number of the sample.
        slide: Number of the slide in its index; for a folder, the number of the file.
        x: Column of the corner in level-0 pixels.
        y: Row of the corner in level-0 pixels.
        mpp: Micrometres per pixel; NaN where unknown.
        level: Level of the pyramid that was read.
        reduce: Factor by which the JPEG decoder scaled down.
        inside: Share of the patch that lies in the slide, 0 to 1.
        failures: Slides that could not be read: number and reason of each.
        rejected: Number of patches that did not pass the filter.
        content: For a folder: `eva_core.evaluation.contamination.image_hash` of each file, uint64; None for slides.
    """

    pixels: Tensor
    number: np.ndarray
    slide: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mpp: np.ndarray
    level: np.ndarray
    reduce: np.ndarray
    inside: np.ndarray
    failures: tuple[tuple[int, str], ...]
    rejected: int
    content: np.ndarray | None = None


class Stream(IterableDataset[Batch], ABC):
    """Endless stream of batches, for a DataLoader with `batch_size=None`.

    Attributes:
        order: Order of the samples in batches.
        start: First batch that is read.
        paths: Paths of the slides, by number.
        names: Names of the slides to show to users, by number.
        kind: Word for the files in messages, in the plural.
    """

    kind = "slides"
    _rows = 64  # one row for each worker, so that none overwrites what another has written

    def __init__(self, order: Order, start: int, paths: Sequence[str], names: Sequence[str]) -> None:
        """Set up the record of failures, which all workers share; nothing is read yet."""
        self.order, self.start, self.paths, self.names = order, start, paths, names
        self._next: int | None = None
        self._resumed: int | None = None
        # first batch in which a slide is not sampled any more: row by worker that writes, read by all workers
        self._out = torch.full((self._rows, len(paths)), _NEVER, dtype=torch.int32)
        self._out.untyped_storage().share_memory_()

    @abstractmethod
    def reader(self) -> AbstractContextManager[Callable[[int], Batch]]:
        """Read batches by number in this process; slides are closed with the context."""

    @abstractmethod
    def identity(self) -> dict[str, str | int | float | None]:
        """Describe all that the patches depend on."""

    @override
    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of this worker, from the first on, or from that of a `state_dict`.

        Raises:
            UsageError: Several patches come from a region, and the number of workers does not divide 16.
            EvaError: Nothing can be read, no patch passes the filter, the storage does not answer, or the source has
                changed since the stream was made.
        """
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        self.order.check(workers)
        row = self._out[worker % self._rows]
        batch = self.start + worker if self._resumed is None else self._resumed
        self._resumed = None
        with self.reader() as read:
            while True:
                patches = read(batch)
                # only now: a batch that cannot be read at all blames no slide
                for slide, _ in patches.failures:
                    row[slide] = min(int(row[slide]), batch + HORIZON)
                batch = self._next = batch + workers
                yield patches

    @property
    def remote(self) -> bool:
        """Whether any slide is read over a network."""
        return any(is_url(path) for path in self.paths)

    def is_out(self, slide: int, batch: int) -> bool:
        """Whether a slide is not sampled any more in a batch."""
        return bool((self._out.numpy()[:, slide] <= batch).any())

    def left_out(self) -> dict[str, int]:
        """First batch in which each failed slide is not sampled any more, by path."""
        first = self._out.numpy().min(0)
        return {self.paths[slide]: int(first[slide]) for slide in np.flatnonzero(first < _NEVER).tolist()}

    def leave_out(self, slides: dict[str, int]) -> None:
        """Restore the result of `left_out`."""
        if not slides:
            return
        for number, path in enumerate(self.paths):
            if path in slides:
                self._out[0, number] = min(int(self._out[0, number]), slides[path])

    def name(self, slide: int) -> str:
        """Name of a slide, to show to users."""
        return self.names[slide]

    def drawn(self, batches: int) -> np.ndarray | None:
        """Numbers of the files that the first batches of all ranks are from; None where nothing tells but a list."""
        del batches
        return None

    def seen(self, slides: Iterable[int]) -> list[tuple[str, str | None]]:
        """List slides as lists of seen slides name them, with their TCGA patients, in the order of their numbers."""
        return [(self._called[slide], patient(self.paths[slide])) for slide in sorted(slides)]

    @cached_property
    def _called(self) -> list[str]:
        return called(self.names)

    def state_dict(self) -> dict[str, Any]:
        """State of this copy of the stream, as a StatefulDataLoader takes it from each worker."""
        return {"next": self._next, "left_out": self.left_out()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict` of the same worker, among as many workers."""
        self._next = self._resumed = state["next"]
        self.leave_out(state["left_out"])


def pixel_buffer(patches: int, size: int) -> Tensor:
    """Allocate uint8 (patches, size, size, 3); in a worker, in memory that the main process reads without a copy."""
    shape = (patches, size, size, 3)
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # as torch's own collate function does: share_memory_() on a new tensor would copy it
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)), device="cpu")  # noqa: SLF001
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
