"""Models: baselines, released foundation models, and any timm architecture."""

from typing import TYPE_CHECKING

from eva_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from eva_vision.models.timm import timm_model

__all__ = [
    "timm_model",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "timm_model": "eva_vision.models.timm",
    },
)
