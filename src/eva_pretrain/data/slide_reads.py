"""Reading of many places in many slides: one request a slide, remote slides in parallel, failures as values."""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from openslide import OpenSlideError

from eva_core.errors import EvaError
from eva_pretrain.data.slide_pool import SlidePool, no_room
from eva_vision.slides.reading.slide import NotOpened, Patch

_THREADS = 32
_SLOW = 5.0
"""Seconds after which a failure is put down to storage that does not answer, rather than to a bad tile."""
_OUTAGE = 3
"""Number of slides without an answer, one after the other, that make an outage of the storage."""

Place = tuple[int, int, int, float]
"""Arguments of `Slide.read_patch`: x, y, size and mpp."""
Request = tuple[int, Place]
"""Number of a slide, and a place in it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Failure to read a place of a slide.

    Attributes:
        reason: Message for the user.
        gone: The slide does not open, and would not the next time.
        silent: The storage did not answer for more than 5 s.
        busy: The slide could not be opened for lack of room, which is not its fault.
    """

    reason: str
    gone: bool = False
    silent: bool = False
    busy: bool = False


def failed(error: Exception, began: float) -> Failure:
    """Classify an error.

    A failure is `silent` if it took long and came from the storage. Damaged content never is, nor what OpenSlide
    refuses, however long the copy took: so the clock decides nothing about a damaged slide, even on a busy machine.

    Args:
        error: The error as it was raised.
        began: Start of the attempt, by `time.monotonic`.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    slow = time.monotonic() - began > _SLOW
    reason = " ".join(str(error).split()) or type(error).__name__
    content = isinstance(error, NotOpened) or isinstance(cause, ValueError | OpenSlideError)
    return Failure(reason, silent=slow and cause is not None and not content)


class OutageDetector:
    """Detector of outages: tells storage that does not answer from single slides that do not. Threads may share it.

    A slide without an answer counts if no other slide was answered since its request. Three such slides are an outage.
    As no slide is requested twice, an outage is noticed after three waits, and one dead slide never ends a run.
    """

    def __init__(self) -> None:
        """Start without any answer."""
        self._answered = float("-inf")
        self._silent: set[int] = set()
        self._lock = threading.Lock()

    def note(self, slide: int, failure: Failure | None, began: float) -> None:
        """Record the answer to a request.

        Args:
            slide: Number of the slide.
            failure: Failure of the request; None where it succeeded.
            began: Time of the request, by `time.monotonic`.

        Raises:
            EvaError: The storage does not answer.
        """
        with self._lock:
            if failure is None or not failure.silent:
                self._answered = time.monotonic()
                self._silent.clear()
                return
            if began >= self._answered:
                self._silent.add(slide)
            if len(self._silent) >= _OUTAGE:
                raise EvaError(
                    f"Expected storage that answers, but {len(self._silent)} slides in a row got no answer, the "
                    f"last: {failure.reason} Resume from the last checkpoint when it answers."
                )


def read_all(
    pool: SlidePool, requests: Sequence[Request], together: bool, outages: OutageDetector
) -> list[Patch | Failure]:
    """Read places of slides; patches or failures come in the order of the requests.

    Args:
        pool: Opens the slides.
        requests: The places.
        together: Read several slides at once, in threads: for storage where most of the time is spent waiting.
        outages: Records the answer of each slide.

    Raises:
        EvaError: The storage does not answer.
    """
    by_slide: dict[int, list[int]] = {}
    for at, (slide, _) in enumerate(requests):
        by_slide.setdefault(slide, []).append(at)

    def read(slide: int) -> list[Patch | Failure]:
        began = time.monotonic()
        answers = _read_slide(pool, slide, [requests[at][1] for at in by_slide[slide]])
        failures = [patch for patch in answers if isinstance(patch, Failure)]
        outages.note(slide, next((failure for failure in failures if failure.silent), None), began)
        return answers

    answers: list[Patch | Failure] = [Failure("")] * len(requests)
    each = _threads(os.getpid()).map if together and len(by_slide) > 1 else map
    for places, patches in zip(by_slide.values(), each(read, by_slide), strict=True):
        for at, patch in zip(places, patches, strict=True):
            answers[at] = patch
    return answers


def _read_slide(pool: SlidePool, slide: int, places: Sequence[Place]) -> list[Patch | Failure]:
    """Read all places of a slide at once; where that fails, one by one, to save those that can be read."""
    began = time.monotonic()
    try:
        with pool.use(slide) as opened:
            began = time.monotonic()
            try:
                return list(opened.read_many(places))
            except (EvaError, OSError) as error:
                failure = failed(error, began)
            if len(places) == 1:
                return [failure]
            answers: list[Patch | Failure] = []
            for place in places:
                if failure.silent:  # the other places would not answer either, a minute each
                    answers.append(failure)
                    continue
                began = time.monotonic()
                try:
                    answers.append(opened.read_patch(*place))
                except (EvaError, OSError) as error:
                    failure = failed(error, began)
                    answers.append(failure)
            return answers
    except (EvaError, OSError) as error:
        failure = failed(error, began)
        busy = no_room(error)
        return [Failure(failure.reason, not (busy or failure.silent), failure.silent and not busy, busy)] * len(places)


@lru_cache(1)  # by process: a fork has no threads
def _threads(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "patches")
