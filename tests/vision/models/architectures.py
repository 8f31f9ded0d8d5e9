"""Published facts of an architecture, and networks without memory for their weights to hold against them."""

from dataclasses import dataclass, field
from functools import cache

import pytest
import torch

from eva_core import registry
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import ModelCard
from eva_vision.models import timm_backbone


@dataclass(frozen=True)
class Facts:
    """What the publishers say of a network, from papers and model pages.

    Attributes:
        width: Size of a token.
        prefix: Class token and registers.
        patch: Side of a patch in pixels.
        millions: Parameters.
        tensors: Tensors in the file, as in the manifest of the Spectra adapters (there under the publisher's names:
            q, k, v apart and a mask token for two).
        shapes: Of single tensors, under timm's names.
        dim: Size of the embedding, where it is not that of the tokens.
    """

    width: int
    prefix: int
    patch: int
    millions: float | None = None
    tensors: int | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dim: int | None = None


def card_of(name: str) -> ModelCard:
    """The card of a registered model."""
    return registry.models.load(name).card


@cache
def on_meta(name: str) -> tuple[Backbone, str]:
    """A model without memory for its weights, and the checkpoint that it asked for."""
    asked: list[str] = []
    linspace = torch.linspace  # of which older timm wants values
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "linspace", lambda *a, **k: linspace(*a, **{**k, "device": "cpu"}))
        patch.setattr(timm_backbone, "load_weights", lambda network, checkpoint, *_: asked.append(checkpoint) or {})
        backbone = registry.build_model(name)
    (checkpoint,) = asked
    return backbone, checkpoint


def check_architecture(name: str, facts: Facts) -> None:
    """Compare a model and its card with what is published of it."""
    backbone, _ = on_meta(name)
    state = backbone.network.state_dict()
    card = card_of(name)
    dim = facts.dim or facts.width * (1 + (card.pooling == "cls_mean"))
    assert (backbone.network.num_features, backbone.network.num_prefix_tokens) == (facts.width, facts.prefix)
    assert backbone.network.patch_embed.patch_size == (facts.patch, facts.patch)
    assert (card.dim, card.prefix_tokens, card.patch_size) == (dim, facts.prefix, facts.patch)
    assert backbone.pooling == card.pooling
    if facts.millions is not None:
        assert sum(value.numel() for value in state.values()) / 1e6 == pytest.approx(facts.millions, abs=0.1)
    if facts.tensors is not None:
        assert len(state) == facts.tensors
    for key, shape in facts.shapes.items():
        assert tuple(state[key].shape) == shape, key
