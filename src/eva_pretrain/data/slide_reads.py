"""Reading many places of many slides: each slide is asked once, remote ones side by side, and a failure is a value."""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from openslide import OpenSlideError

from eva_core.errors import EvaError
from eva_pretrain.data.slide_pool import Handles, no_room
from eva_vision.slides.reading.slide import NotOpened, Patch

_THREADS = 32
_SLOW = 5.0
"""Seconds after which a failure is storage that does not answer, rather than a bad tile."""
_OUTAGE = 3
"""Slides that wait in vain, one after the other, before the storage is given up."""

Place = tuple[int, int, int, float]
"""x, y, size and mpp as `Slide.read_patch` takes them."""
Request = tuple[int, Place]
"""Number of the slide, and a place."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a place could not be read.

    Attributes:
        reason: In words.
        gone: The slide does not open, and would not the next time.
        silent: The storage did not answer for long.
        busy: There is no room to open the slide now, which is not its fault.
    """

    reason: str
    gone: bool = False
    silent: bool = False
    busy: bool = False


def failed(error: Exception, began: float) -> Failure:
    """What kind of failure an error is.

    It is `silent` if it took long and came from below. What was read, but is not what it should be, never is, nor what
    OpenSlide refuses, however long the copying took: so the clock decides nothing about a damaged slide, on a busy
    machine either.

    Args:
        error: As it was raised.
        began: When the attempt began, by `time.monotonic`.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    slow = time.monotonic() - began > _SLOW
    reason = " ".join(str(error).split()) or type(error).__name__
    content = isinstance(error, NotOpened) or isinstance(cause, ValueError | OpenSlideError)
    return Failure(reason, silent=slow and cause is not None and not content)


class Storage:
    """Tells storage that does not answer from single slides that do not. Threads may share it.

    A slide that waited in vain counts if nothing else was answered since it was asked. Three such slides are an outage.
    As none is asked twice, an outage ends within as many waits, and one dead slide never ends anything.
    """

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._answered = float("-inf")
        self._silent: set[int] = set()
        self._lock = threading.Lock()

    def note(self, slide: int, failure: Failure | None, began: float) -> None:
        """Take account of an answer.

        Args:
            slide: Which was asked.
            failure: What came of it, unless all was well.
            began: When it was asked, by `time.monotonic`.

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
                    f"Expected storage that answers, but {len(self._silent)} slides in a row waited in vain, the last "
                    f"so: {failure.reason} Go on from the last checkpoint when it does."
                )


def read_all(handles: Handles, requests: Sequence[Request], together: bool, storage: Storage) -> list[Patch | Failure]:
    """Read places in this order.

    Args:
        handles: Where slides are opened.
        requests: The places.
        together: Ask several slides at once, in threads: where most of the time is spent waiting for answers.
        storage: Told what came of each slide.

    Raises:
        EvaError: The storage does not answer.
    """
    by_slide: dict[int, list[int]] = {}
    for at, (slide, _) in enumerate(requests):
        by_slide.setdefault(slide, []).append(at)

    def read(slide: int) -> list[Patch | Failure]:
        began = time.monotonic()
        answers = _read_slide(handles, slide, [requests[at][1] for at in by_slide[slide]])
        failures = [patch for patch in answers if isinstance(patch, Failure)]
        storage.note(slide, next((failure for failure in failures if failure.silent), None), began)
        return answers

    answers: list[Patch | Failure] = [Failure("")] * len(requests)
    each = _pool(os.getpid()).map if together and len(by_slide) > 1 else map
    for places, patches in zip(by_slide.values(), each(read, by_slide), strict=True):
        for at, patch in zip(places, patches, strict=True):
            answers[at] = patch
    return answers


def _read_slide(handles: Handles, slide: int, places: Sequence[Place]) -> list[Patch | Failure]:
    """All places at once; where that fails, one by one, to save those that can be read."""
    began = time.monotonic()
    try:
        with handles.use(slide) as opened:
            began = time.monotonic()
            try:
                return list(opened.read_many(places))
            except (EvaError, OSError) as error:
                failure = failed(error, began)
            if len(places) == 1:
                return [failure]
            answers: list[Patch | Failure] = []
            for place in places:
                if failure.silent:  # it would be for all the others, a minute each
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


@lru_cache(1)
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "patches")
