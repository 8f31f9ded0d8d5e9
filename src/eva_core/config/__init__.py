"""From words and YAML to what is built."""

from typing import TYPE_CHECKING

from eva_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from eva_core.config.protocols import load_protocol

__all__ = ["load_protocol"]
__getattr__, __dir__ = lazy_names(__name__, {"load_protocol": "eva_core.config.protocols"})
