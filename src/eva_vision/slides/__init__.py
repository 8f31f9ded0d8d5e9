"""Whole slide images: patches of any size at any magnification, from disk or blob storage."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eva_vision.slides.listing import list_slides
    from eva_vision.slides.reading.open import open_slide
    from eva_vision.slides.reading.read_plan import Level
    from eva_vision.slides.reading.slide import Patch, Slide

_PLACES = {
    "Level": "eva_vision.slides.reading.read_plan",
    "Patch": "eva_vision.slides.reading.slide",
    "Slide": "eva_vision.slides.reading.slide",
    "list_slides": "eva_vision.slides.listing",
    "open_slide": "eva_vision.slides.reading.open",
}
__all__ = ["Level", "Patch", "Slide", "list_slides", "open_slide"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that commands which open no slide do not pay for it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
