"""Vision: patch datasets, models, heads, segmentation and whole slides."""

from typing import TYPE_CHECKING

from eva_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from eva_vision.datasets.base import ImageFiles
    from eva_vision.models.timm import timm_model
    from eva_vision.segmentation.contracts import SegmentationDataset, SegmentationHead
    from eva_vision.slides.listing import list_slides
    from eva_vision.slides.reading.open import open_slide
    from eva_vision.slides.reading.read_plan import Level
    from eva_vision.slides.reading.readers import SlideReader
    from eva_vision.slides.reading.slide import Patch, Slide

__all__ = [
    "ImageFiles",
    "Level",
    "Patch",
    "SegmentationDataset",
    "SegmentationHead",
    "Slide",
    "SlideReader",
    "list_slides",
    "open_slide",
    "timm_model",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ImageFiles": "eva_vision.datasets.base",
        "Level": "eva_vision.slides.reading.read_plan",
        "Patch": "eva_vision.slides.reading.slide",
        "SegmentationDataset": "eva_vision.segmentation.contracts",
        "SegmentationHead": "eva_vision.segmentation.contracts",
        "Slide": "eva_vision.slides.reading.slide",
        "SlideReader": "eva_vision.slides.reading.readers",
        "list_slides": "eva_vision.slides.listing",
        "open_slide": "eva_vision.slides.reading.open",
        "timm_model": "eva_vision.models.timm",
    },
)
