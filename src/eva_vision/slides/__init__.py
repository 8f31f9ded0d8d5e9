"""Whole slide images: patches of any size at any magnification, from disk or blob storage."""

from eva_vision.slides.reader import Level, Patch, Slide, open_slide
from eva_vision.slides.remote import list_slides

__all__ = ["Level", "Patch", "Slide", "list_slides", "open_slide"]
