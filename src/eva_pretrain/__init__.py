"""Pretraining by online patching: methods, their training from slides or patches, and the export of a model."""

from typing import TYPE_CHECKING

from eva_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from eva_pretrain.methods.base import Method, Setup
    from eva_pretrain.run.config import Plan
    from eva_pretrain.run.export import ExportDetails, export
    from eva_pretrain.run.pretrain import pretrain

__all__ = [
    "ExportDetails",
    "Method",
    "Plan",
    "Setup",
    "export",
    "pretrain",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ExportDetails": "eva_pretrain.run.export",
        "Method": "eva_pretrain.methods.base",
        "Plan": "eva_pretrain.run.config",
        "Setup": "eva_pretrain.methods.base",
        "export": "eva_pretrain.run.export",
        "pretrain": "eva_pretrain.run.pretrain",
    },
)
