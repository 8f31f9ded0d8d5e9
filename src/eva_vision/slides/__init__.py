"""Whole slide images: patches of any size at any magnification, from disk or blob storage."""

from typing import TYPE_CHECKING

from eva_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from eva_vision.slides.listing import list_slides
    from eva_vision.slides.reading.open import open_slide
    from eva_vision.slides.reading.read_plan import Level
    from eva_vision.slides.reading.slide import Patch, Slide

__all__ = [
    "Level",
    "Patch",
    "Slide",
    "list_slides",
    "open_slide",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Level": "eva_vision.slides.reading.read_plan",
        "Patch": "eva_vision.slides.reading.slide",
        "Slide": "eva_vision.slides.reading.slide",
        "list_slides": "eva_vision.slides.listing",
        "open_slide": "eva_vision.slides.reading.open",
    },
)
