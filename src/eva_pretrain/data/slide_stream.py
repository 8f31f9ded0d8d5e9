"""Stream of patches from slides: the same batches for any number of workers, resumable at any batch.

The sampler places sample n by (seed, n). One worker reads a whole batch: first all places are drawn, then each slide is
read once for all its places. A patch that cannot be read, or does not pass the filter, is replaced by the next attempt
at the same sample, which depends on (seed, n, attempt) alone.

A slide that does not open, or whose storage does not answer for long, is not read again by this process: every attempt
would fail, so the patches are the same. (Unless the storage answers again before the `HORIZON`: then they depend on
which process had waited for it.) Where no storage answers, the stream ends with an error.
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
from typing_extensions import override

from eva_core.errors import EvaError
from eva_core.identity import canonical, changed_fields, qualified_name
from eva_core.progress import say
from eva_pretrain.data.batch_order import Order
from eva_pretrain.data.region_buffer import RegionBuffer
from eva_pretrain.data.slide_pool import SlidePool
from eva_pretrain.data.slide_reads import Failure, OutageDetector, failed, read_all
from eva_pretrain.data.stream import Batch, Stream, pixel_buffer
from eva_vision.slides.index import Index
from eva_vision.slides.reading.blobs import is_url
from eva_vision.slides.reading.slide import Patch
from eva_vision.slides.sampler import Sampler, Sampling, Window
from eva_vision.slides.sampling import weigh
from eva_vision.slides.tissue_mask import TissueMask

_MOST_FAILURES, _MOST_REJECTED, _MOST_SKIPPED = 100, 1000, 100_000  # of one sample, before we give up


class PatchStream(Stream):
    """Stream of the patches of the slides in an index."""

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
        accumulate: int = 1,
    ) -> None:
        """Set up the sampler; slides are opened by the processes that read.

        Args:
            index: The slides.
            sampling: How patches are sampled.
            batch_size: Patches of one batch of this rank.
            seed: Seed of the choice of patches.
            rank: Number of this process, from 0.
            ranks: Number of processes among which the samples are divided.
            start: First batch.
            keep: Filter of patches by their pixels, such as `eva_vision.slides.tissue_detection.patch_filter`.
            exact: Read level 0 only, and never let the JPEG decoder scale.
            accumulate: Batches of this rank in an optimiser step.

        Raises:
            UsageError: No slide is left, or a number makes no sense.
        """
        paths, same = [entry.path for entry in index.entries], Counter(entry.name for entry in index.entries)
        names = [entry.name if same[entry.name] == 1 else entry.path for entry in index.entries]
        super().__init__(Order(batch_size, rank, ranks, sampling.per_window, accumulate), start, paths, names)
        self.index, self.keep, self.exact = index, keep, exact
        self.sampler = Sampler(index.entries, _Masks(index), sampling, seed)
        self._contents = _contents(index)
        weights = weigh([index.entries[n] for n in self.sampler.slide_numbers], sampling)
        self._drawn = hashlib.sha256(self.sampler.slide_numbers.tobytes() + weights.tobytes()).hexdigest()

    @override
    def identity(self) -> dict[str, str | int | float | None]:
        """Describe the patches: settings, content of the slides, and how often each slide is drawn."""
        unlisted = replace(self.sampler.sampling, exclude=None, slides="uniform", table=None, column="", codes=())
        return {
            "source": self.kind,
            "seed": self.sampler.seed,
            **self.order.identity,
            "sampling": canonical(changed_fields(replace(unlisted, fraction=1.0))),
            "slides": self._drawn,
            "contents": self._contents,
            "exact": self.exact,
            "keep": _described(self.keep),
        }

    @override
    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Batch]]:
        """Read batches by number in this process."""
        if _contents(self.index) != self._contents:  # a spawned worker has read the index anew
            raise EvaError(
                f"Expected the slides of {self.index.folder} as when the stream was made, but there are others. "
                "Start again, and let the index be while training starts."
            )
        reader = _Reader(self)
        try:
            yield reader.batch
        finally:
            reader.pool.close()


@dataclass(slots=True)
class _Sample:
    """Sample of a batch that is being read: its position in the batch, past attempts, and the next place."""

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
        self.pool = SlidePool(lambda number: stream.index.open(number, stream.exact))
        self._outages = OutageDetector()
        self._regions = RegionBuffer(stream.sampler) if stream.order.per_window > 1 else None
        self._unusable: dict[int, str] = {}  # slides that this process cannot read, and why
        self._busy = False

    def batch(self, batch: int) -> Batch:
        """Read all patches of a batch.

        Raises:
            EvaError: No slide can be read, no patch passes the filter, or the storage does not answer.
        """
        samples = [_Sample(at, int(number)) for at, number in enumerate(self.stream.order.numbers(batch))]
        pixels = pixel_buffer(len(samples), self.sampler.sampling.size)
        out, facts = pixels.numpy(), np.empty((len(samples), 6))
        failures: dict[int, str] = {}
        pending = samples
        while pending:
            self._read(batch, pending)
            again = []
            for sample in pending:
                patch, sample.patch = sample.patch, None
                assert patch is not None
                if isinstance(patch, Failure):
                    self._note(sample, patch, failures)
                elif self.stream.keep is not None and not self.stream.keep(patch.pixels):
                    self._reject(sample)
                else:
                    out[sample.at] = patch.pixels
                    facts[sample.at] = patch.x, patch.y, patch.mpp, patch.level, patch.reduce, patch.inside
                    continue
                sample.attempt += 1
                again.append(sample)
            pending = again
        number, slide = (np.array(values) for values in zip(*((w.number, w.slide) for w in samples), strict=True))
        x, y, level, reduce = facts[:, [0, 1, 3, 4]].T.astype(np.int64)
        mpp, inside = facts[:, 2].copy(), facts[:, 5].copy()
        rejected = sum(sample.rejected for sample in samples)
        channels_first = pixels.permute(0, 3, 1, 2)
        return Batch(channels_first, number, slide, x, y, mpp, level, reduce, inside, (*failures.items(),), rejected)

    def _read(self, batch: int, pending: Sequence[_Sample]) -> None:
        """Draw a place for each sample, and read it."""
        for sample in pending:
            self._draw(batch, sample)
        unread = [sample for sample in pending if sample.patch is None]
        remote = any(is_url(self.entries[sample.slide].path) for sample in unread)
        requests = [(sample.slide, sample.place) for sample in unread]
        patches = read_all(self.pool, requests, together=remote, outages=self._outages)
        for sample, patch in zip(unread, patches, strict=True):
            if sample.window is not None and self._regions is not None and isinstance(patch, Patch):
                place, entry = (self.stream.order.lane(batch), sample.at), self.entries[sample.slide]
                patch = self._regions.cut(place, sample.number, sample.window, patch, entry)
            sample.patch = patch

    def _draw(self, batch: int, sample: _Sample) -> None:
        """Decide where a sample is read, or take its patch from a region that was read before.

        Raises:
            EvaError: No slide can be read.
        """
        for attempt in range(sample.attempt, sample.attempt + _MOST_SKIPPED):
            sample.attempt, sample.window, sample.patch = attempt, None, None
            try:
                self._place(batch, sample)
            except _MaskError as error:
                sample.slide, sample.patch = error.slide, error.failure
                if error.failure.silent:  # all masks are in one file
                    self._outages.note(error.slide, error.failure, error.began)
            useless = sample.slide in self._unusable and not isinstance(sample.patch, Patch)
            if not useless and not self.stream.is_out(sample.slide, batch):
                return
            if attempt % 64 == 63 and all(self._is_out(int(slide), batch) for slide in self.sampler.slide_numbers):
                break
        raise self._no_slide_left(len(self.sampler.slide_numbers))

    def _place(self, batch: int, sample: _Sample) -> None:
        if self._regions is None or sample.attempt:
            place = self.sampler.place(sample.number, sample.attempt)
            sample.slide, sample.place = place.slide, (place.x, place.y, place.size, place.mpp)
            return
        ready = self._regions.take((self.stream.order.lane(batch), sample.at), sample.number)
        if ready is not None:
            sample.slide, sample.patch = ready
            return
        window = sample.window = self._regions.window(sample.number)
        sample.slide, sample.place = window.slide, (window.x, window.y, window.size, window.mpp)

    def _is_out(self, slide: int, batch: int) -> bool:
        return slide in self._unusable or self.stream.is_out(slide, batch)

    def _note(self, sample: _Sample, failure: Failure, failures: dict[int, str]) -> None:
        self.pool.drop(sample.slide)
        if failure.gone or failure.silent:
            self._unusable[sample.slide] = failure.reason
        if not failure.busy:
            failures.setdefault(sample.slide, failure.reason)
        elif not self._busy:
            self._busy = True
            say(f"A patch of another slide is read in place of one: {failure.reason}")
        sample.failures += 1
        if sample.failures > _MOST_FAILURES:
            raise EvaError(
                f"Expected slides that can be read, but {sample.failures} attempts at a patch failed, the last with: "
                f"{failure.reason}"
            )

    def _reject(self, sample: _Sample) -> None:
        sample.rejected += 1
        if sample.rejected > _MOST_REJECTED:
            raise EvaError(
                f"Expected patches that pass the filter, but {sample.rejected} in a row did not, the last in "
                f"{self.entries[sample.slide].name}. Ask for more tissue, or leave the filter out."
            )

    def _no_slide_left(self, n: int) -> EvaError:
        slide, reason = next(iter(self._unusable.items()), (None, ""))
        example = f", such as {self.entries[slide].name}: {reason}" if slide is not None else ". Check where they lie."
        return EvaError(f"Expected slides that can be read, but all {n} failed{example}")


class _MaskError(Exception):
    """The tissue mask of a slide cannot be read."""

    def __init__(self, slide: int, failure: Failure, began: float) -> None:
        super().__init__(slide)
        self.slide, self.failure, self.began = slide, failure, began


class _Masks:
    """Tissue masks by number of the slide; errors carry the slide."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __call__(self, slide: int) -> TissueMask:
        began = time.monotonic()
        try:
            return self._index.mask(slide)
        except EvaError as error:
            failure = failed(error, began)
            raise _MaskError(slide, replace(failure, gone=not failure.silent), began) from error


def _contents(index: Index) -> str:
    """Hash of what decides about pixels and places: the slides in their order, and what the index holds of each."""
    lines = (f"{entry.path} {entry.mpp!r} {entry.sha256} {entry.crc32}" for entry in index.entries)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _described(function: Any) -> str | None:
    """Description of a filter by name and parameters; functions without a name look alike."""
    if function is None:
        return None
    if isinstance(function, partial):
        return f"{_described(function.func)} {canonical([function.args, function.keywords])}"
    if is_dataclass(function):
        return f"{qualified_name(function)} {canonical(changed_fields(function))}"
    return qualified_name(function)
