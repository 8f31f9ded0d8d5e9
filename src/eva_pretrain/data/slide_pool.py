"""Pool of open slides, as many as files and memory allow: a worker keeps the slides that it used last."""

import errno
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from eva_core.errors import EvaError
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.reading.staging import CacheFull

MOST = 256
"""Number of open slides; fewer where the system allows a process fewer than four times as many files."""
BYTES = 128 * 2**20
"""Memory that open slides may take, by their own estimate."""
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT)


@dataclass
class _OpenSlide:
    slide: Slide
    bytes: int
    users: int = 0


class SlidePool:
    """Open slides by number; the least recently used is closed first. Threads may share a pool, processes may not."""

    def __init__(self, open_slide: Callable[[int], Slide], most: int = MOST, most_bytes: int = BYTES) -> None:
        """Create a pool without open slides.

        Args:
            open_slide: Opens the slide of a number.
            most: Number of slides that are kept open.
            most_bytes: Memory that they may take, in bytes.
        """
        self._open, self._most_bytes = open_slide, most_bytes
        self._most = max(1, min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        self._entries: OrderedDict[int, _OpenSlide] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Memory that the open slides take, by their own estimate."""
        return sum(entry.bytes for entry in self._entries.values())

    @contextmanager
    def use(self, number: int) -> Iterator[Slide]:
        """Open a slide, and keep it open within the context.

        Args:
            number: Number of the slide.

        Raises:
            EvaError: The slide does not open, even after all unused slides were closed where there was no room.
        """
        with self._lock:
            entry = self._entries.get(number)
            if entry is not None:
                entry.users += 1
        if entry is None:
            entry = self._opened(number)
        try:
            yield entry.slide
        finally:
            with self._lock:
                entry.users -= 1
                if number in self._entries:
                    self._entries.move_to_end(number)
                self._shrink()

    def drop(self, number: int) -> None:
        """Close a slide, unless it is in use."""
        with self._lock:
            entry = self._entries.get(number)
            if entry is not None and not entry.users:
                self._entries.pop(number).slide.close()

    def close(self) -> None:
        """Close all slides that are not in use."""
        for number in list(self._entries):
            self.drop(number)

    def _opened(self, number: int) -> _OpenSlide:
        try:
            slide = self._open(number)
        except (EvaError, OSError) as error:
            if not no_room(error):
                raise
            self.close()
            slide = self._open(number)
        with self._lock:
            other = self._entries.get(number)
            if other is not None:  # another thread was faster
                slide.close()
                other.users += 1
                return other
            entry = self._entries[number] = _OpenSlide(slide, slide.memory, users=1)
            return entry

    def _shrink(self) -> None:
        total = self.bytes if len(self._entries) > 1 else 0
        for number, entry in list(self._entries.items()):
            if len(self._entries) <= self._most and total <= self._most_bytes:
                return
            if not entry.users:
                total -= entry.bytes
                self._entries.pop(number).slide.close()


def no_room(error: Exception) -> bool:
    """Whether a slide did not open for lack of room: too many open files, a full cache, a full disk."""
    return isinstance(error, CacheFull) or any(getattr(e, "errno", None) in _FULL for e in (error, error.__cause__))
