"""Patches of slides as a stream of batches that is the same whoever reads it, and can be taken up anywhere.

Sample n is where the sampler says for (seed, n). A batch is read by one worker as a whole: first all its places are
drawn, then each slide is asked for its places at once. What cannot be read, or does not pass the filter, is replaced by
the next attempt at the same sample, which depends on (seed, n, attempt) alone.

A slide that does not open, or whose storage is silent for long, is not asked for again by this process: every attempt
would fail, so the patches are the same. (Unless a silent slide comes back before the `HORIZON`: then they depend on who
had asked it.) Where the storage is silent for all, the stream ends with an error.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from eva_core.errors import EvaError
from eva_core.identity import canonical, changed_fields, qualified_name
from eva_core.progress import say
from eva_pretrain.data.batch_order import LANES, Order
from eva_pretrain.data.region_buffer import Regions
from eva_pretrain.data.slide_pool import Handles
from eva_pretrain.data.slide_reads import Failure, Storage, failed, read_all
from eva_pretrain.data.stream import Batch, Stream, pixel_buffer
from eva_vision.slides.index import Index
from eva_vision.slides.reading.blobs import is_url
from eva_vision.slides.reading.slide import Patch
from eva_vision.slides.sampler import Sampler, Sampling, Window
from eva_vision.slides.sampling import weigh
from eva_vision.slides.tissue_mask import TissueMask

_MOST_FAILURES, _MOST_REJECTED, _MOST_SKIPPED = 100, 1000, 100_000  # of one sample, before we give up


class PatchStream(Stream):
    """Patches of the slides of an index."""

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
            rank: Number of this process.
            ranks: Among which the samples are divided.
            start: The first batch, to go on where another stream stopped.
            keep: Which patches pass, by their pixels; such as `eva_vision.slides.tissue_detection.patch_filter`.
            exact: Read level 0 alone, and never let the JPEG decoder scale.

        Raises:
            UsageError: No slide is left, or a number makes no sense.
        """
        paths, same = [entry.path for entry in index.entries], Counter(entry.name for entry in index.entries)
        names = [entry.name if same[entry.name] == 1 else entry.path for entry in index.entries]
        super().__init__(Order(batch_size, rank, ranks, sampling.per_window), start, paths, names)
        self.index, self.keep, self.exact = index, keep, exact
        self.sampler = Sampler(index.entries, _Masks(index), sampling, seed)
        self._contents = _contents(index)
        weights = weigh([index.entries[n] for n in self.sampler.slide_numbers], sampling)
        self._drawn = hashlib.sha256(self.sampler.slide_numbers.tobytes() + weights.tobytes()).hexdigest()

    def identity(self) -> dict[str, str | int | float | None]:
        """Settings; what the slides hold; which of them are drawn, by whatever rule, and how often."""
        unlisted = replace(self.sampler.sampling, exclude=None, slides="uniform", table=None, column="", codes=())
        return {
            "source": self.kind,
            "seed": self.sampler.seed,
            "batch_size": self.order.batch_size,
            "ranks": self.order.ranks,
            "sampling": canonical(changed_fields(replace(unlisted, fraction=1.0))),
            "slides": self._drawn,
            "contents": self._contents,
            "exact": self.exact,
            "keep": _described(self.keep),
        }

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Batch]]:
        """What reads batches in this process."""
        if _contents(self.index) != self._contents:  # a spawned worker has read the index anew
            raise EvaError(
                f"Expected the slides of {self.index.folder} as when the stream was made, but there are others. "
                "Start again, and let the index be while training starts."
            )
        reader = _Reader(self)
        try:
            yield reader.batch
        finally:
            reader.handles.close()


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


class _Reader:
    """Reads batches in one process."""

    def __init__(self, stream: PatchStream) -> None:
        self.stream = stream
        self.sampler, self.entries = stream.sampler, stream.index.entries
        self.handles = Handles(lambda number: stream.index.open(number, stream.exact))
        self._storage = Storage()
        self._regions = Regions(stream.sampler) if stream.order.per_window > 1 else None
        self._gone: dict[int, str] = {}  # slides that are of no use to this process, and why
        self._busy = False

    def batch(self, batch: int) -> Batch:
        """Read all patches of a batch.

        Raises:
            EvaError: No slide can be read, no patch passes the filter, or the storage does not answer.
        """
        wanted = [_Wanted(at, int(number)) for at, number in enumerate(self.stream.order.numbers(batch))]
        pixels = pixel_buffer(len(wanted), self.sampler.sampling.size)
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
                    self._note(want, patch, failures)
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
        requests = [(want.slide, want.place) for want in unread]
        patches = read_all(self.handles, requests, together=remote, storage=self._storage)
        for want, patch in zip(unread, patches, strict=True):
            if want.window is not None and self._regions is not None and isinstance(patch, Patch):
                place, entry = (batch % LANES, want.at), self.entries[want.slide]
                patch = self._regions.cut(place, want.number, want.window, patch, entry)
            want.patch = patch

    def _draw(self, batch: int, want: _Wanted) -> None:
        """Decide where a sample is read; or take its patch, where its region was read before.

        Raises:
            EvaError: No slide can be read.
        """
        for attempt in range(want.attempt, want.attempt + _MOST_SKIPPED):
            want.attempt, want.window, want.patch = attempt, None, None
            try:
                self._place(batch, want)
            except _NoMask as error:
                want.slide, want.patch = error.slide, error.failure
                if error.failure.silent:  # all masks are in one file
                    self._storage.note(error.slide, error.failure, error.began)
            useless = want.slide in self._gone and not isinstance(want.patch, Patch)
            if not useless and not self.stream.is_out(want.slide, batch):
                return
            if attempt % 64 == 63 and all(self._is_out(int(slide), batch) for slide in self.sampler.slide_numbers):
                break
        raise self._none_left(len(self.sampler.slide_numbers))

    def _place(self, batch: int, want: _Wanted) -> None:
        if self._regions is None or want.attempt:
            place = self.sampler.place(want.number, want.attempt)
            want.slide, want.place = place.slide, (place.x, place.y, place.size, place.mpp)
            return
        ready = self._regions.take((batch % LANES, want.at), want.number)
        if ready is not None:
            want.slide, want.patch = ready
            return
        window = want.window = self._regions.window(want.number)
        want.slide, want.place = window.slide, (window.x, window.y, window.size, window.mpp)

    def _is_out(self, slide: int, batch: int) -> bool:
        return slide in self._gone or self.stream.is_out(slide, batch)

    def _note(self, want: _Wanted, failure: Failure, failures: dict[int, str]) -> None:
        self.handles.drop(want.slide)
        if failure.gone or failure.silent:
            self._gone[want.slide] = failure.reason
        if not failure.busy:
            failures.setdefault(want.slide, failure.reason)
        elif not self._busy:
            self._busy = True
            say(f"A patch of another slide is read in place of one: {failure.reason}")
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


class _NoMask(Exception):
    """The tissue of a slide cannot be had."""

    def __init__(self, slide: int, failure: Failure, began: float) -> None:
        super().__init__(slide)
        self.slide, self.failure, self.began = slide, failure, began


class _Masks:
    """The tissue of each slide; what fails says of which."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __call__(self, slide: int) -> TissueMask:
        began = time.monotonic()
        try:
            return self._index.mask(slide)
        except EvaError as error:
            failure = failed(error, began)
            raise _NoMask(slide, replace(failure, gone=not failure.silent), began) from error


def _contents(index: Index) -> str:
    """What decides about pixels and places: which slide has which number, and all that the index knows of each."""
    lines = (f"{entry.path} {entry.mpp!r} {entry.sha256} {entry.crc32}" for entry in index.entries)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _described(function: Any) -> str | None:
    """A filter by name and parameters; functions without a name look alike."""
    if function is None:
        return None
    if isinstance(function, partial):
        return f"{_described(function.func)} {canonical([function.args, function.keywords])}"
    if is_dataclass(function):
        return f"{qualified_name(function)} {canonical(changed_fields(function))}"
    return qualified_name(function)
