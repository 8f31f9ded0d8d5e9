"""Models by name, as starts of a run or as frozen teachers: those of `eva models`, of timm, of the hub, and exports."""

import difflib
import inspect
from pathlib import Path
from typing import Any

import timm

from eva_core import registry
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import ModelCard
from eva_core.errors import UsageError
from eva_core.hub.weight_files import HUB
from eva_vision.models.exported import CARD
from eva_vision.models.hub_exports import fetch_export
from eva_vision.models.timm_backbone import build


def is_registered(name: str) -> bool:
    """Whether `eva models` lists a name; a folder of this name does not hide it."""
    return any(entry.name == name for entry in registry.models.entries())


def card_of(name: str) -> ModelCard | None:
    """Card of a registered model, read without its weights; None for other names and for models by arguments."""
    card: ModelCard | None = getattr(registry.models.load(name), "card", None) if is_registered(name) else None
    return None if card is None or card.dim is None else card


def terms_of(name: str, backbone: Backbone | None = None) -> str:
    """Tell the licence of a model in a line, and whether its page asks for consent; else of what was built."""
    card = card_of(name) or (None if backbone is None else backbone.card)
    if card is None:
        return f"{name}."
    asked = f", gated: its page {card.source} asks for consent" if card.gated else f" ({card.source})"
    return f"{name}, licence {card.licence}{asked}. Its terms hold for what is made of it."


def named_backbone(name: str, **arguments: Any) -> Backbone:
    """Build a model with its weights.

    Args:
        name: A name of `eva models`, the path of an export, a run or a checkpoint of one, `hf-hub:owner/name` (an
            export of eva, or a network of timm), or a pretrained network of timm such as
            `vit_small_patch16_dinov3.lvd1689m`.
        arguments: Arguments of a registered model, such as `arch` of `timm_model`.

    Raises:
        UsageError: Nothing has this name, or it does not take these arguments.
        EvaError: The weights cannot be had.
    """
    _check_arguments(name, arguments)
    if is_registered(name) or Path(name).exists() or _is_published_export(name):
        where = name if is_registered(name) or name.startswith(HUB) else str(Path(name).absolute())
        backbone: Backbone = registry.build_model(where, **arguments)
        return backbone
    if not name.startswith(HUB) and not timm.is_model_pretrained(name):
        raise UsageError(
            f"Expected a name of `eva models`, a pretrained network of timm such as vit_small_patch16_224.dino, "
            f"{HUB}owner/name, or the folder of an export, but got {name!r}. {_hint(name)}"
        )
    return build(name, pretrained=True)


def _is_published_export(name: str) -> bool:
    """Whether a repository holds an export of eva; else it is one of timm."""
    if not name.startswith(HUB):
        return False
    try:
        fetch_export(name, (CARD,))
    except UsageError:
        return False
    return True


def _check_arguments(name: str, arguments: dict[str, Any]) -> None:
    try:
        inspect.signature(registry.models.load(name) if is_registered(name) else lambda: None).bind(**arguments)
    except TypeError as error:
        raise UsageError(f"Expected arguments that {name} takes, but {error}. Change its arguments.") from error


def _hint(name: str) -> str:
    names = [entry.name for entry in registry.models.entries()]
    close = difflib.get_close_matches(name, [*names, *timm.list_models(pretrained=True)], n=3)
    return f"Did you mean {' or '.join(close)}?" if close else "`eva models` lists names."
