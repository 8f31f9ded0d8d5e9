"""From words and YAML to what is built."""

from importlib import import_module
from typing import Any

__all__ = ["load_protocol"]


def __getattr__(name: str) -> Any:
    """What people read a protocol with in Python, imported when it is asked for."""
    if name in __all__:
        return getattr(import_module("eva_core.config.protocols"), name)
    raise AttributeError(f"module 'eva_core.config' has no attribute {name!r}")
