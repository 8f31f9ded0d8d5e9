"""The readers of slides: entry points of the group `eva.slide_readers`, ours and everybody's alike."""

from collections.abc import Iterator
from typing import Protocol

from eva_core.errors import EvaError
from eva_core.registry import slide_readers
from eva_vision.slides.reading.blobs import Blob, head, is_url
from eva_vision.slides.reading.slide import Slide

OURS = ("tiff", "openslide")
"""Asked in this order, after all others: OpenSlide last, which may take whatever is left."""


class SlideReader(Protocol):
    """A reader. Entry points of the group `eva.slide_readers` name such classes, called without arguments."""

    def opens(self, path: str, first_bytes: bytes) -> bool:
        """Whether this reader should open a slide.

        Args:
            path: File or URL.
            first_bytes: The beginning of the file, 64 kB where it has as many.
        """

    def open(self, path: str, mpp: float | None, state: bytes | None) -> Slide:
        """Open a slide.

        Args:
            path: File or URL.
            mpp: Micrometres per pixel of level 0; None: as the file says.
            state: What `state` gave when the slide was indexed, so that no header is parsed again; None: of a file
                that no index has.

        Raises:
            NotOpened: It is not of this reader's formats after all: the next reader is asked.
        """

    def state(self, slide: Slide) -> bytes:
        """Give what an index keeps of an open slide, for `open`; empty where a reader needs nothing."""


def reader(name: str) -> SlideReader:
    """The reader of a name.

    Raises:
        UsageError: No installed package has it.
    """
    built: SlideReader = slide_readers.build(name)
    return built


def readers_for(path: str) -> Iterator[str]:
    """Give the names of the readers that may open a slide, in the order in which they are asked.

    Ours look at the header themselves, so the first bytes are only read where there are others.

    Raises:
        EvaError: The file cannot be read.
    """
    others = sorted({entry.name for entry in slide_readers.entries()} - set(OURS))
    start = _first_bytes(path) if others else None
    for name in (*others, *OURS):
        if start is None or reader(name).opens(path, start):
            yield name


def _first_bytes(path: str) -> bytes:
    try:
        return head(path, Blob(path).size() if is_url(path) else 0)
    except OSError as error:
        raise EvaError(f"Expected a slide at {path}, but it cannot be read ({error}). Check the path.") from error
