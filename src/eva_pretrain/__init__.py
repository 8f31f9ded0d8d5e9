"""Pretraining by online patching: `pretrain(plan(...))` trains a method on slides or patches and exports the model."""

from typing import TYPE_CHECKING

from eva_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from eva_pretrain.methods.base import Method, Setup
    from eva_pretrain.run.config import Plan, plan
    from eva_pretrain.run.export import ExportDetails, export
    from eva_pretrain.run.pretrain import pretrain

__all__ = [
    "ExportDetails",
    "Method",
    "Plan",
    "Setup",
    "export",
    "plan",
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
        "plan": "eva_pretrain.run.config",
        "pretrain": "eva_pretrain.run.pretrain",
    },
)
