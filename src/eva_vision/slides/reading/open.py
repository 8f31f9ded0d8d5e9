"""Opening slides, by whichever reader knows their format."""

from pathlib import Path

from eva_core.errors import EvaError
from eva_vision.slides.reading.blobs import is_url
from eva_vision.slides.reading.mpp import decide_mpp
from eva_vision.slides.reading.readers import reader, readers_for
from eva_vision.slides.reading.slide import NotOpened, Slide


def open_slide(path: str | Path, mpp: float | None = None, exact: bool = False) -> Slide:
    """Open a slide by the first reader that knows its format: those of plugins, the fast path, OpenSlide.

    Args:
        path: File, or URL (`s3://`, `gs://`, `az://`, `http://`, `https://`). What only OpenSlide reads is copied
            from there to a local cache.
        mpp: Micrometres per pixel of level 0; None: as the file says.
        exact: Always resample from level 0, and never let the JPEG decoder do a part of it.

    Raises:
        UsageError: No mpp is given and the file states none.
        EvaError: The slide does not open, or is cut.
    """
    path = str(path) if is_url(path) else str(Path(path).expanduser())
    refusal: EvaError | None = None
    for name in readers_for(path):
        try:
            return open_by(name, path, mpp, None, exact)
        except NotOpened as error:
            refusal = error
    assert refusal is not None  # OpenSlide is always asked
    raise refusal


def open_by(name: str, path: str, mpp: float | None, state: bytes | None, exact: bool = False) -> Slide:
    """Open a slide by one reader.

    Args:
        name: Name of the reader.
        path: File or URL.
        mpp: Micrometres per pixel of level 0; None: as the file says.
        state: What an index has of the slide: then nothing is parsed; None: of a slide that no index has.
        exact: See `open_slide`.

    Raises:
        NotOpened: It is not of the formats of this reader.
        UsageError: There is no such reader, or no mpp is known.
        EvaError: The slide does not open, or is cut.
    """
    slide = reader(name).open(path, mpp, state)
    slide.reader = name
    if exact:
        slide.read_exactly()
    return slide


def open_as_stated(path: str | Path, otherwise: float | None) -> Slide:
    """Open a slide with the mpp that it states, or with another where it states none.

    Args:
        path: File or URL; see `open_slide`.
        otherwise: Micrometres per pixel of level 0; None: then it must state them.

    Raises:
        UsageError: No mpp is known, or the other one is not positive.
        EvaError: The slide does not open, or is cut.
    """
    if otherwise is not None:
        decide_mpp(str(path), otherwise, None)
    return as_stated(open_slide(path, otherwise))


def as_stated(slide: Slide) -> Slide:
    """A slide at the mpp that it states, whichever it was opened with."""
    if slide.stated_mpp is not None:
        slide.mpp = slide.stated_mpp
    return slide
