"""Micrometres per pixel as files state them: in any notation, and believed only where a scanner can have them."""

import math
import re
from collections.abc import Mapping
from html import unescape

from eva_core.errors import UsageError

_FINEST, _COARSEST = 0.05, 20.0
"""Micrometres per pixel. Above are the 72 or 300 dpi that a program wrote because a field had to be filled; below, what
no light microscope resolves: a unit that was mistaken."""
_ALIKE = 0.01
"""Share by which the two axes of one scanner may differ: up to 0.4 % in slides of Hamamatsu and 3DHISTECH."""
_UNITS = {"": 1.0, "um": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0, "nm": 1e-3, "nanometer": 1e-3}
_UNITS |= {"nanometre": 1e-3, "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3, "cm": 1e4, "centimeter": 1e4}
_UNITS |= {"centimetre": 1e4, "m": 1e6, "meter": 1e6, "metre": 1e6, "in": 25_400.0, "inch": 25_400.0}
_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_LENGTH = re.compile(rf"\s*({_NUMBER})\s*([a-z]*)(?:\s*(?:/|per)\s*(?:px|pixel))?\s*", re.IGNORECASE)
_PER_UNIT = {2: 25_400.0, 3: 10_000.0}
"""TIFF resolution unit (inch, centimetre) -> micrometres."""
_MIRAX = "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL_"
_PROPERTIES = (
    (("openslide.mpp-x", "openslide.mpp-y"), "um"),
    (("aperio.MPP",), "um"),
    (("ventana.ScanRes",), "um"),
    ((f"{_MIRAX}X", f"{_MIRAX}Y"), "um"),
    (("philips.DICOM_PIXEL_SPACING",), "mm"),
)
"""Properties of OpenSlide, and the unit of each."""


def plausible(mpp: float | None) -> float | None:
    """An mpp that a scanner can have, else None."""
    return mpp if mpp is not None and _FINEST <= mpp <= _COARSEST else None


def of_both_axes(across: float | None, down: float | None) -> float | None:
    """The mean of the mpp of both axes; None where one is implausible, or they differ: which to believe is unknown.

    Args:
        across: Micrometres per pixel along a row; None where only the other axis states any.
        down: Micrometres per pixel along a column; None where only the other axis states any.
    """
    axes = [mpp for mpp in (across, down) if mpp is not None]
    if not axes or any(plausible(mpp) is None for mpp in axes) or max(axes) > min(axes) * (1 + _ALIKE):
        return None
    return sum(axes) / len(axes)


def micrometres(text: str, unit: str = "um") -> float | None:
    """Read a length in micrometres: `0.25`, `0,25`, `2.5e-1`, `250 nm`, `0.25 µm/px`; None where it is no such text.

    Args:
        text: A number, a unit where it has one.
        unit: The unit of a number alone.

    Examples:
        >>> [micrometres(text) for text in ("0,25", "250 nm", "fine")]
        [0.25, 0.25, None]
    """
    match = _LENGTH.fullmatch(text.replace("\xb5", "u").replace("\u03bc", "u"))  # micro sign, Greek mu
    if match is None:
        return None
    unit_name = (match[2] or unit).lower()
    factor = _UNITS.get(unit_name, _UNITS.get(unit_name.removesuffix("s")))
    return None if factor is None else float(match[1].replace(",", ".")) * factor


def aperio_mpp(description: str) -> float | None:
    """The field MPP of an Aperio description: `...|AppMag = 40|MPP = 0.2498|...`.

    Examples:
        >>> aperio_mpp("Aperio Image Library|AppMag = 40|MPP = 0.2498")
        0.2498
    """
    match = re.search(r"\|\s*MPP\s*=([^|\r\n]*)", description)
    return None if match is None else plausible(micrometres(match[1].strip("\0 ")))


def ome_mpp(description: str) -> float | None:
    """Physical size of a pixel in OME-XML, in micrometres unless it names a unit."""
    return of_both_axes(*(_ome_size(description, axis) for axis in "XY"))


def resolution_mpp(unit: int | None, across: float | None, down: float | None) -> float | None:
    """Read TIFF's pixels per inch or centimetre; the unit is inch where none is given (TIFF 6.0, section 8)."""
    length = _PER_UNIT.get(2 if unit is None else unit)
    if length is None:
        return None
    return of_both_axes(*(None if n is None else length / n if n else math.inf for n in (across, down)))


def openslide_mpp(properties: Mapping[str, str]) -> float | None:
    """Read the mpp from the properties of OpenSlide: by its own names, else by a vendor's, if credible."""
    for names, unit in _PROPERTIES:
        axes = [_number(text, unit) for name in names for text in _quoted(properties.get(name, ""))]
        if len(axes) <= 2 and (mpp := of_both_axes(*(*axes, None, None)[:2])) is not None:
            return mpp
    return ome_mpp(properties.get("tiff.ImageDescription", ""))


def _quoted(text: str) -> list[str]:
    """Values of a property: those in quotes, of which Philips has one for each axis, else all of it."""
    return re.findall(r'"([^"]+)"', text) or [text] * bool(text)


def _number(text: str, unit: str) -> float:
    """Read a length as `micrometres` does; what it does not understand is NaN, which no scanner has."""
    length = micrometres(text, unit)
    return math.nan if length is None else length


def _ome_size(description: str, axis: str) -> float | None:
    match = re.search(rf"\bPhysicalSize{axis}\s*=\s*[\"']([^\"']*)[\"']", description)
    if match is None:
        return None
    unit = re.search(rf"\bPhysicalSize{axis}Unit\s*=\s*[\"']([^\"']*)[\"']", description)
    return _number(unescape(f"{match[1]} {unit[1] if unit else ''}"), "um")


def decide_mpp(path: str, given_mpp: float | None, stated_mpp: float | None) -> float:
    """Decide the micrometres per pixel of level 0: the given ones, else the file's.

    Raises:
        UsageError: There is neither, or the given one is not positive.
    """
    if given_mpp is not None:
        if not 0 < given_mpp < float("inf"):
            raise UsageError(f"Expected argument mpp to be positive, but got {given_mpp}. Give micrometres per pixel.")
        return given_mpp
    if stated_mpp is None:
        raise UsageError(
            f"Expected micrometres per pixel in {path}, but it states none, or none that a scanner has. "
            "Give it: open_slide(path, mpp=0.25), or a column mpp where slides are listed (20x is about 0.5, 40x 0.25)."
        )
    return stated_mpp
