"""Models: baselines, and any timm architecture."""

from typing import Any

__all__ = ["timm_model"]


def __getattr__(name: str) -> Any:
    """`timm_model`, imported when first used: torch is behind it."""
    if name in __all__:
        from eva_vision.models.timm import timm_model

        return timm_model
    raise AttributeError(f"module 'eva_vision.models' has no attribute {name!r}")
