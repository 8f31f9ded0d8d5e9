"""From words and YAML to what is built."""

from typing import TYPE_CHECKING

from eva_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from eva_core.config.parser import parse
    from eva_core.config.protocols import load_protocol

__all__ = ["load_protocol", "parse"]
__getattr__, __dir__ = lazy_names(
    __name__, {"load_protocol": "eva_core.config.protocols", "parse": "eva_core.config.parser"}
)
