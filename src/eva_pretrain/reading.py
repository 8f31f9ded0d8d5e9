"""Reading many places of many slides: each slide is asked once, remote ones side by side, and a failure is a value."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from eva_core.errors import EvaError
from eva_pretrain.handles import Handles
from eva_vision.slides.slide import Patch

_THREADS = 32
_SLOW = 5.0
"""Seconds after which a failure is storage that does not answer, rather than a bad tile."""

Request = tuple[int, tuple[int, int, int, float]]
"""Number of the slide; x, y, size and mpp as `Slide.read_patch` takes them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a place could not be read: its slide does not open, or storage did not answer for long, or neither."""

    reason: str
    gone: bool = False
    silent: bool = False


def read_all(handles: Handles, requests: Sequence[Request], together: bool) -> list[Patch | Failure]:
    """Read places in this order.

    Args:
        handles: Where slides are opened.
        requests: The places.
        together: Ask several slides at once, in threads: where most of the time is spent waiting for answers.
    """
    by_slide: dict[int, list[int]] = {}
    for at, (slide, _) in enumerate(requests):
        by_slide.setdefault(slide, []).append(at)

    def read(slide: int) -> list[Patch | Failure]:
        return _read_slide(handles, slide, [requests[at][1] for at in by_slide[slide]])

    found: list[Patch | Failure] = [Failure("")] * len(requests)
    each = _pool(os.getpid()).map if together and len(by_slide) > 1 else map
    for places, patches in zip(by_slide.values(), each(read, by_slide), strict=True):
        for at, patch in zip(places, patches, strict=True):
            found[at] = patch
    return found


def _read_slide(handles: Handles, slide: int, places: Sequence[tuple[int, int, int, float]]) -> list[Patch | Failure]:
    """All places at once; where that fails, one by one, to save those that can be read."""
    try:
        with handles.use(slide) as opened:
            began = time.monotonic()
            try:
                return list(opened.read_many(places))
            except (EvaError, OSError) as error:
                if len(places) == 1 or time.monotonic() - began > _SLOW:
                    return [_failure(error, began)] * len(places)
            found: list[Patch | Failure] = []
            for place in places:
                began = time.monotonic()
                try:
                    found.append(opened.read_patch(*place))
                except (EvaError, OSError) as error:
                    found.append(_failure(error, began))
            return found
    except (EvaError, OSError) as error:
        return [Failure(str(error), gone=True)] * len(places)


def _failure(error: Exception, began: float) -> Failure:
    return Failure(str(error), silent=time.monotonic() - began > _SLOW)


@lru_cache(1)
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "patches")
