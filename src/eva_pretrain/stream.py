"""Patches of slides as a stream of batches that is the same whoever reads it, and can be taken up anywhere.

Sample n is where the sampler says for (seed, n). A batch is read by one worker as a whole: first all its places are
drawn, then each slide is asked for its places at once. What cannot be read, or does not pass the filter, is replaced by
the next attempt at the same sample, which depends on (seed, n, attempt) alone.

A slide that failed in batch b is not sampled from batch b + `HORIZON` on. Not at once: other workers are already
reading the batches in between, and without knowing; so the stream stays the same whatever their number, as long as
they read less than `HORIZON` batches ahead. A slide that does not even open, or fails slowly, is not asked for again.
Where most of a batch fails slowly, it is the storage, and the stream ends with an error.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from eva_core.errors import EvaError
from eva_pretrain.handles import Handles
from eva_pretrain.order import LANES, Order
from eva_pretrain.reading import Failure, read_all
from eva_pretrain.regions import Regions
from eva_vision.slides.index import Index
from eva_vision.slides.remote import is_url
from eva_vision.slides.sampling import Sampler, Sampling, Window
from eva_vision.slides.slide import Patch

HORIZON = 128
_ROWS = 64  # one for each worker, so that none overwrites what another found out
_NEVER = 2**31 - 1
_MOST_FAILURES, _MOST_REJECTED, _MOST_SKIPPED = 100, 1000, 100_000  # of one sample, before we give up


class Batch(NamedTuple):
    """A batch of patches; all but the pixels are NumPy arrays of (B,).

    Attributes:
        pixels: uint8 (B, 3, size, size), channels last in memory.
        number: Of the sample.
        slide: Its number in the index.
        x: Level-0 pixels of the corner.
        y: Likewise.
        mpp: Micrometres per pixel.
        level: Level of the pyramid that was read.
        reduce: Scale at which JPEG was decoded.
        inside: Share of the patch that lies in the slide.
        failures: Slides that could not be read, and why.
        rejected: How many patches did not pass the filter.
    """

    pixels: torch.Tensor
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


@dataclass(slots=True)
class _Wanted:
    """A sample on its way: its place in the batch, what was tried, and what is read next."""

    at: int
    number: int
    attempt: int = 0
    failures: int = 0
    rejected: int = 0
    slide: int = -1
    place: tuple[int, int, int, float] = (0, 0, 0, 0.0)
    window: Window | None = None
    patch: Patch | Failure | None = None


class PatchStream(IterableDataset[Batch]):
    """An endless stream of batches, for a DataLoader with `batch_size=None`."""

    def __init__(
        self,
        index: Index,
        sampling: Sampling,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        start: int = 0,
        keep: Callable[[np.ndarray], bool] | None = None,
        exact: bool = False,
    ) -> None:
        """Open no slide: that is done by whoever reads.

        Args:
            index: The slides.
            sampling: How patches are sampled.
            batch_size: Patches of one batch of this rank.
            seed: Decides which.
            rank: Of this process.
            ranks: Among which the samples are divided.
            start: The first batch, to go on where another stream stopped.
            keep: Which patches pass, by their pixels; such as `eva_vision.slides.tissue.patch_filter`.
            exact: Read level 0 alone, and never let the JPEG decoder scale.

        Raises:
            UsageError: No slide is left, or a number makes no sense.
        """
        self.index, self.start, self.keep, self.exact = index, start, keep, exact
        self.sampler = Sampler(index.entries, index.mask, sampling, seed)
        self.order = Order(batch_size, rank, ranks, sampling.per_window)
        self.slides_sha256 = _sha256(index)
        self._next: int | None = None
        self._resumed: int | None = None
        # the first batch in which a slide is not sampled any more, by who found out; all workers see it
        self._out = torch.full((_ROWS, len(index)), _NEVER, dtype=torch.int32).share_memory_()

    def __iter__(self) -> Iterator[Batch]:
        """The batches of this worker, from the first on, or from where a `state_dict` was.

        Raises:
            UsageError: Regions with a number of workers that does not divide 16.
            EvaError: No slide can be read, no patch passes the filter, the storage does not answer, or the index has
                other slides now.
        """
        if _sha256(self.index) != self.slides_sha256:  # a spawned worker has read the index anew
            raise EvaError(
                f"Expected the slides of {self.index.folder} as when the stream was made, but there are others. "
                "Start again, and let the index be while training starts."
            )
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        self.order.check(workers)
        reader = _Reader(self, self._out[worker % _ROWS])
        batch = self.start + worker if self._resumed is None else self._resumed
        self._resumed = None
        try:
            while True:
                found = reader.batch(batch)
                batch = self._next = batch + workers
                yield found
        finally:
            reader.handles.close()

    def is_out(self, slide: int, batch: int) -> bool:
        """Whether a slide failed long enough ago."""
        return bool((self._out.numpy()[:, slide] <= batch).any())

    def left_out(self) -> dict[str, int]:
        """Paths of slides that failed, and the batch from which each is not sampled."""
        first = self._out.numpy().min(0)
        return {self.index.entries[slide].path: int(first[slide]) for slide in np.flatnonzero(first < _NEVER)}

    def leave_out(self, slides: dict[str, int]) -> None:
        """Take over what `left_out` told."""
        for number, entry in enumerate(self.index.entries):
            if entry.path in slides:
                self._out[0, number] = min(int(self._out[0, number]), slides[entry.path])

    def state_dict(self) -> dict[str, Any]:
        """Where this copy of the stream is: what a StatefulDataLoader asks each worker."""
        return {"next": self._next, "left_out": self.left_out()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same worker among as many."""
        self._next = self._resumed = state["next"]
        self.leave_out(state["left_out"])


class _Reader:
    """Reads batches in one process."""

    def __init__(self, stream: PatchStream, found_out: torch.Tensor) -> None:
        self.stream, self._found_out = stream, found_out
        self.sampler, self.entries = stream.sampler, stream.index.entries
        self.handles = Handles(lambda number: stream.index.open(number, stream.exact))
        self._regions = Regions(stream.sampler) if stream.order.per_window > 1 else None
        self._gone: dict[int, str] = {}  # slides that are of no use to this process, and why

    def batch(self, batch: int) -> Batch:
        """Read all patches of a batch.

        Raises:
            EvaError: No slide can be read, no patch passes the filter, or the storage does not answer.
        """
        wanted = [_Wanted(at, int(number)) for at, number in enumerate(self.stream.order.numbers(batch))]
        pixels = _empty((len(wanted), self.sampler.sampling.size, self.sampler.sampling.size, 3))
        out, facts = pixels.numpy(), np.empty((len(wanted), 6))
        failures: dict[int, str] = {}
        todo = wanted
        while todo:
            self._read(batch, todo)
            again = []
            for want in todo:
                patch, want.patch = want.patch, None
                assert patch is not None
                if isinstance(patch, Failure):
                    failures.setdefault(want.slide, patch.reason)
                    self._note(batch, want, patch)
                elif self.stream.keep is not None and not self.stream.keep(patch.pixels):
                    self._reject(want)
                else:
                    out[want.at] = patch.pixels
                    facts[want.at] = patch.x, patch.y, patch.mpp, patch.level, patch.reduce, patch.inside
                    continue
                want.attempt += 1
                again.append(want)
            todo = again
        number, slide = (np.array(values) for values in zip(*((w.number, w.slide) for w in wanted), strict=True))
        x, y, level, reduce = facts[:, [0, 1, 3, 4]].T.astype(np.int64)
        mpp, inside = facts[:, 2].copy(), facts[:, 5].copy()
        rejected = sum(want.rejected for want in wanted)
        channels_first = pixels.permute(0, 3, 1, 2)
        return Batch(channels_first, number, slide, x, y, mpp, level, reduce, inside, (*failures.items(),), rejected)

    def _read(self, batch: int, todo: Sequence[_Wanted]) -> None:
        """Draw a place for each, and read it."""
        for want in todo:
            self._draw(batch, want)
        unread = [want for want in todo if want.patch is None]
        remote = any(is_url(self.entries[want.slide].path) for want in unread)
        found = read_all(self.handles, [(want.slide, want.place) for want in unread], together=remote)
        for want, patch in zip(unread, found, strict=True):
            if want.window is not None and self._regions is not None and isinstance(patch, Patch):
                place, own = (batch % LANES, want.at), self.entries[want.slide].mpp
                patch = self._regions.cut(place, want.number, want.window, patch, own)
            want.patch = patch
        silent = [patch.reason for patch in found if isinstance(patch, Failure) and patch.silent]
        if len(silent) > len(todo) / 2:  # then it is not for the slides, and none should be left out
            raise EvaError(
                f"Expected storage that answers, but {len(silent)} of {len(todo)} patches waited in vain, the last so: "
                f"{silent[-1]} Go on from the last checkpoint when it does."
            )

    def _draw(self, batch: int, want: _Wanted) -> None:
        """Decide where a sample is read; or take its patch, where its region was read before.

        Raises:
            EvaError: No slide can be read.
        """
        for attempt in range(want.attempt, want.attempt + _MOST_SKIPPED):
            want.attempt, want.window, want.patch = attempt, None, None
            if self._regions is not None and attempt == 0:
                self._draw_region(batch, want, self._regions)
            else:
                place = self.sampler.place(want.number, attempt)
                want.slide, want.place = place.slide, (place.x, place.y, place.size, place.mpp)
            if not self._is_out(want.slide, batch):
                return
            if attempt % 64 == 63 and all(self._is_out(int(slide), batch) for slide in self.sampler.kept):
                break
        raise self._none_left(len(self.sampler.kept))

    def _draw_region(self, batch: int, want: _Wanted, regions: Regions) -> None:
        ready = regions.take((batch % LANES, want.at), want.number)
        if ready is not None:
            want.slide, want.patch = ready
            return
        window = want.window = regions.window(want.number)
        want.slide, want.place = window.slide, (window.x, window.y, window.size, window.mpp)

    def _is_out(self, slide: int, batch: int) -> bool:
        return slide in self._gone or self.stream.is_out(slide, batch)

    def _note(self, batch: int, want: _Wanted, failure: Failure) -> None:
        self.handles.drop(want.slide)
        self._found_out[want.slide] = min(int(self._found_out[want.slide]), batch + HORIZON)
        if failure.gone or failure.silent:
            self._gone[want.slide] = failure.reason
        want.failures += 1
        if want.failures > _MOST_FAILURES:
            raise EvaError(
                f"Expected slides that can be read, but {want.failures} attempts at a patch failed, the last so: "
                f"{failure.reason}"
            )

    def _reject(self, want: _Wanted) -> None:
        want.rejected += 1
        if want.rejected > _MOST_REJECTED:
            raise EvaError(
                f"Expected patches that pass the filter, but {want.rejected} in a row did not, the last in "
                f"{self.entries[want.slide].name}. Ask for more tissue, or leave the filter out."
            )

    def _none_left(self, n: int) -> EvaError:
        slide, reason = next(iter(self._gone.items()), (None, ""))
        example = f", {self.entries[slide].name} so: {reason}" if slide is not None else ". Check where they lie."
        return EvaError(f"Expected slides that can be read, but all {n} failed{example}")


def _sha256(index: Index) -> str:
    """Of the paths: a slide's number is its place among them."""
    return hashlib.sha256("\n".join(entry.path for entry in index.entries).encode()).hexdigest()


def _empty(shape: tuple[int, ...]) -> torch.Tensor:
    """uint8; in a worker in shared memory, so that the main process gets the pixels without another copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)), device="cpu")
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
