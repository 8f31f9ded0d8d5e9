"""What a plugin promises: cards, datasets, backbones, heads and protocols."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """The checks, imported when first used: torch is behind them."""
    if name in ("crossing_line", "pixels_of", "refuse_other_than", "refuse_wrong_samples"):
        return getattr(import_module("eva_core.contracts.checks"), name)
    raise AttributeError(f"module 'eva_core.contracts' has no attribute {name!r}")
