"""The core of eva: contracts, registries, extraction, fitting and results. It knows no vision."""

from typing import Any

__all__ = ["fit", "predict"]


def __getattr__(name: str) -> Any:
    """`fit` and `predict`, imported when first used: torch is behind them."""
    if name in __all__:
        from eva_core import api

        return getattr(api, name)
    raise AttributeError(f"module 'eva_core' has no attribute {name!r}")
