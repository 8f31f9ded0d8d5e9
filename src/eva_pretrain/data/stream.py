"""What a stream of patches is, whatever it is read from: batches by number, and a record of what cannot be read.

A slide (or image file) that failed in batch b is not sampled from batch b + `HORIZON` on. Not at once: other workers
are already reading the batches in between, and without knowing; so the stream stays the same whatever their number, as
long as they read less than `HORIZON` batches ahead.
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

from eva_pretrain.data.batch_order import Order
from eva_vision.slides.names import called, patient
from eva_vision.slides.reading.blobs import is_url

HORIZON = 128
_NEVER = 2**31 - 1


class Batch(NamedTuple):
    """A batch of patches; all but the pixels are NumPy arrays of (B,).

    Attributes:
        pixels: uint8 (B, 3, size, size), channels last in memory.
        number: Number of the sample.
        slide: Its number in the index; of a folder, the number of the file.
        x: Column of the corner in level-0 pixels.
        y: Row of the corner in level-0 pixels.
        mpp: Micrometres per pixel; NaN where unknown.
        level: Level of the pyramid that was read.
        reduce: Scale at which JPEG was decoded.
        inside: Share of the patch that lies in the slide.
        failures: Slides that could not be read, and why.
        rejected: How many patches did not pass the filter.
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


class Stream(IterableDataset[Batch], ABC):
    """An endless stream of batches, for a DataLoader with `batch_size=None`.

    Attributes:
        order: Which samples make a batch.
        start: The first batch that is read.
        paths: Paths of the slides, by number.
        names: Names of the slides for people, by number.
        kind: What people call them, in the plural.
    """

    kind = "slides"
    _rows = 64  # one for each worker, so that none overwrites what another found out

    def __init__(self, order: Order, start: int, paths: Sequence[str], names: Sequence[str]) -> None:
        """Nothing is read yet."""
        self.order, self.start, self.paths, self.names = order, start, paths, names
        self._next: int | None = None
        self._resumed: int | None = None
        # the first batch in which a slide is not sampled any more, by who found out; all workers see it
        self._out = torch.full((self._rows, len(paths)), _NEVER, dtype=torch.int32).share_memory_()

    @abstractmethod
    def reader(self) -> AbstractContextManager[Callable[[int], Batch]]:
        """What reads the batch of a number in this process, and gives back what it holds in the end."""

    @abstractmethod
    def identity(self) -> dict[str, str | int | float | None]:
        """All that the patches depend on."""

    def __iter__(self) -> Iterator[Batch]:
        """The batches of this worker, from the first on, or from where a `state_dict` was.

        Raises:
            UsageError: Regions with a number of workers that does not divide 16.
            EvaError: Nothing can be read, no patch passes the filter, the storage does not answer, or the source has
                changed meanwhile.
        """
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        self.order.check(workers)
        found_out = self._out[worker % self._rows]
        batch = self.start + worker if self._resumed is None else self._resumed
        self._resumed = None
        with self.reader() as read:
            while True:
                patches = read(batch)
                for (
                    slide,
                    _,
                ) in patches.failures:  # not before: a batch that cannot be read at all blames no slide
                    found_out[slide] = min(int(found_out[slide]), batch + HORIZON)
                batch = self._next = batch + workers
                yield patches

    @property
    def remote(self) -> bool:
        """Whether anything is read over a network."""
        return any(is_url(path) for path in self.paths)

    def is_out(self, slide: int, batch: int) -> bool:
        """Whether a slide failed long enough ago."""
        return bool((self._out.numpy()[:, slide] <= batch).any())

    def left_out(self) -> dict[str, int]:
        """Paths of slides that failed, and the batch from which each is not sampled."""
        first = self._out.numpy().min(0)
        return {self.paths[slide]: int(first[slide]) for slide in np.flatnonzero(first < _NEVER).tolist()}

    def leave_out(self, slides: dict[str, int]) -> None:
        """Take over what `left_out` told."""
        for number, path in enumerate(self.paths):
            if path in slides:
                self._out[0, number] = min(int(self._out[0, number]), slides[path])

    def name(self, slide: int) -> str:
        """Name of a slide, for people."""
        return self.names[slide]

    def seen(self, slides: Iterable[int]) -> list[tuple[str, str | None]]:
        """How lists call slides, in order of their numbers, and their TCGA patients."""
        return [(self._called[slide], patient(self.paths[slide])) for slide in sorted(slides)]

    @cached_property
    def _called(self) -> list[str]:
        return called(self.names)

    def state_dict(self) -> dict[str, Any]:
        """Where this copy of the stream is: what a StatefulDataLoader asks each worker."""
        return {"next": self._next, "left_out": self.left_out()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same worker among as many."""
        self._next = self._resumed = state["next"]
        self.leave_out(state["left_out"])


def pixel_buffer(patches: int, size: int) -> Tensor:
    """uint8 (patches, size, size, 3); in a worker in shared memory: the main process has the pixels without a copy."""
    shape = (patches, size, size, 3)
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)), device="cpu")
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
