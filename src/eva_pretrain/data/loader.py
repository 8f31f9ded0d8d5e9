"""Loader of patches for training: workers that read ahead, exact resuming, and a report of what was read."""

import time
import warnings
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader

from eva_core.errors import EvaError, UsageError, some
from eva_core.shown import visible
from eva_core.worker_processes import loader_context, spawn_context
from eva_pretrain.data.folder_stream import FolderStream
from eva_pretrain.data.slide_stream import PatchStream
from eva_pretrain.data.stream import HORIZON, Batch, Stream
from eva_vision.slides.names import file_name, patient

__all__ = ["Batch", "FolderStream", "PatchLoader", "PatchStream"]

_HERE = 1
"""Level of the stack at which we warn: a warning in a file of Lightning, which calls us, is shown as that file's."""


class PatchLoader:
    """Batches of a stream, read ahead by workers; stateful as Lightning's loops and torchdata understand it.

    The state is the number of batches that were handed out, and what is known of the slides: another number of workers
    may go on with it. In a folder of images, each file counts as a slide.

    Attributes:
        batches: Batches handed out since the first of the stream.
        patches_seen: Patches handed out by this rank, over all resumptions of the run.
        mpp: Least and greatest micrometres per pixel of the patches of this process; None where unknown.
        failures: Slides that could not be read, over all resumptions: reason by name.
        patches: Patches handed out by this process.
        rejected: Patches of this process that did not pass the filter.
        started_s: Seconds until the first batch of this process.
        waited_s: Seconds that the trainer waited for later batches.
        busy_s: Seconds that the trainer worked between batches.
    """

    def __init__(
        self,
        stream: Stream,
        workers: int = 2,
        prefetch: int = 2,
        epoch: int = 1250,
        pin_memory: bool = False,
        context: Literal["fork", "spawn", "forkserver"] | None = None,
    ) -> None:
        """Check the settings; workers start with the first batch.

        Args:
            stream: The stream to read.
            workers: Processes that read; 0: this one.
            prefetch: Batches that each worker reads ahead.
            epoch: Batches after which a `for` loop ends; the next goes on from there.
            pin_memory: Copy batches to memory that a GPU reads directly.
            context: Start method of workers; none: a fork where that is this Python's default, else `spawn`, as where
                slides are remote, because the client's threads do not survive a fork.

        Raises:
            UsageError: More batches would be read ahead than the stream allows, or a number makes no sense.
        """
        if workers * prefetch >= HORIZON:
            raise UsageError(
                f"Expected workers x prefetch below {HORIZON}, but got {workers} x {prefetch}. Lower one of them."
            )
        if epoch < 1:
            raise UsageError(f"Expected epoch to be at least 1, but got {epoch}. Give a number of batches.")
        stream.order.check(max(workers, 1))
        self.stream, self.epoch = stream, epoch
        if context is None and stream.remote:
            context = "spawn"
        self._settings: dict[str, Any] = {
            "batch_size": None,
            "num_workers": workers,
            "prefetch_factor": prefetch if workers else None,
            "pin_memory": pin_memory,
            "multiprocessing_context": _started(context) if workers else None,
            "collate_fn": _as_it_is,
        }
        self.batches = stream.start
        self.patches_seen = self.patches = self.rejected = 0
        self.started_s = self.waited_s = self.busy_s = 0.0
        self._seen = np.zeros(len(stream.paths), np.bool_)
        self._new_content: list[np.ndarray] = []
        self.mpp: tuple[float, float] | None = None
        self.failures: dict[str, str] = {}
        self._seen_elsewhere: set[str] = set()  # paths of slides that were seen before, and are not in this stream
        self._feed: Iterator[Batch] | None = None

    def __len__(self) -> int:
        return self.epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches up to the end of this epoch.

        Raises:
            EvaError: No slide can be read, no patch passes the filter, or a worker died.
        """
        while True:
            batch = self._get()
            began = time.perf_counter()
            yield batch
            self.busy_s += time.perf_counter() - began
            if self.batches % self.epoch == 0:
                return

    @property
    def seen(self) -> set[int]:
        """Numbers of the slides that the patches are from."""
        return {*np.flatnonzero(self._seen).tolist()}

    def new_content(self) -> np.ndarray:
        """Hashes of the image files that were read since the last call, uint64 (n,); none for slides."""
        new, self._new_content = self._new_content, []
        return np.unique(np.concatenate(new)) if new else np.empty(0, np.uint64)

    @property
    def waited_share(self) -> float:
        """Share of the time since the first batch in which the trainer waited for data."""
        return self.waited_s / max(self.waited_s + self.busy_s, 1e-9)

    def slides_seen(self) -> list[tuple[str, str | None]]:
        """List name and TCGA patient of each slide in `seen`, and of slides seen before that are not in this stream."""
        return self.stream.seen(self.seen) + [(file_name(path), patient(path)) for path in sorted(self._seen_elsewhere)]

    @property
    def distinct(self) -> int:
        """Number of slides, or images of a folder, that the patches are from."""
        return int(self._seen.sum()) + len(self._seen_elsewhere)

    def report(self) -> str:
        """Report in a few lines what was read, how long the trainer waited, and what was left out and why."""
        lines = [
            f"{self.patches_seen} patches of {self.distinct} {self.stream.kind}; "
            f"waited {self.waited_s:.1f} s for data ({self.waited_share:.1%} of the time), and {self.started_s:.1f} s "
            "for the first batch."
        ]
        if self.rejected:
            lines.append(f"{self.rejected} patches did not pass the filter, and others were read in their place.")
        if self.failures:
            failures = {visible(name): reason for name, reason in self.failures.items()}
            lines.append(f"{len(failures)} {self.stream.kind} were left out: {some(failures)}.")
            lines += [f"  {name}: {reason}" for name, reason in failures.items()]
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        """State of the loader, of numbers and texts alone: the next batch, and slides that were seen or failed."""
        return {
            "batches": self.batches,
            "patches": self.patches_seen,
            "seen": self._listed(),
            "failures": dict(self.failures),
            "left_out": self.stream.left_out(),
            "of": self.stream.identity(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`, with a warning where the stream is another one and will give other patches."""
        self.close()
        now, then = self.stream.identity(), dict(state["of"])
        if "ranks" in then:  # an earlier version: it did not say how many batches a step has
            for name in ("ranks", "batch_size", "batch"):
                now.pop(name, None)
                then.pop(name, None)
        on_the_card_alone = {"mpp"}  # of a folder
        changed = [n for n in {**now, **then} if now.get(n) != then.get(n) and n not in on_the_card_alone]
        if changed:
            warnings.warn(
                f"Expected the stream that was stopped, but it differs in {some(changed)}: "
                "it goes on with other patches. Restore these to have the same.",
                stacklevel=_HERE,
            )
        self.batches, self.patches_seen = state["batches"], state["patches"]
        paths, drawn = set(state["seen"]), self.stream.drawn(self.batches)
        self._seen[:] = False
        if drawn is not None:
            self._seen[drawn] = True
        else:
            self._seen[[number for number, path in enumerate(self.stream.paths) if path in paths]] = True
            self._seen_elsewhere = paths.difference(self.stream.paths)
        self.failures = dict(state["failures"])
        self.stream.leave_out(state["left_out"])

    def close(self) -> None:
        """Stop the workers; what they read ahead is read again by the next `for` loop."""
        self._feed = None

    def _get(self) -> Batch:
        began = time.perf_counter()
        first = self._feed is None
        try:
            if self._feed is None:
                self.stream.start = self.batches
                self._feed = iter(DataLoader(self.stream, **self._settings))
            batch: Batch = next(self._feed)
        except EvaError as error:
            self.close()
            line = str(error).strip().splitlines()[-1]  # a worker's error comes with its traceback
            raise type(error)(line.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from error
        except RuntimeError as error:
            self.close()
            if "DataLoader worker" not in str(error):
                raise
            reason = " ".join(str(error).split())
            raise EvaError(
                f"Expected workers that read on, but one died ({reason}). "
                "If memory was short, lower workers or prefetch."
            ) from error
        seconds = time.perf_counter() - began
        if first:
            self.started_s += seconds
        else:
            self.waited_s += seconds
        self._account(batch)
        return batch

    def _listed(self) -> list[str]:
        """Paths of the slides that were seen; of a folder the number of batches tells, however many files it has."""
        if self.stream.drawn(0) is not None:
            return []
        return sorted({*(self.stream.paths[slide] for slide in self.seen), *self._seen_elsewhere})

    def _account(self, batch: Batch) -> None:
        self.batches += 1
        self.patches += len(batch.number)
        self.patches_seen += len(batch.number)
        self.rejected += batch.rejected
        self._seen[batch.slide] = True
        if not np.isnan(batch.mpp).any():
            known = () if self.mpp is None else self.mpp
            self.mpp = (min(*known, *batch.mpp.tolist()), max(*known, *batch.mpp.tolist()))
        if batch.content is not None:
            self._new_content.append(batch.content)
        for slide, reason in batch.failures:
            name = self.stream.name(slide)
            if name not in self.failures:
                self.failures[name] = reason
                warnings.warn(f"{name} is left out from here on: {reason}", stacklevel=_HERE)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _started(context: str | None) -> BaseContext | str | None:
    """Choose how workers start; processes that are spawned never see Ctrl-C."""
    if context is None:
        return loader_context()
    return spawn_context() if context == "spawn" else context
