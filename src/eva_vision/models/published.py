"""Published models: the weights that a card names, in a timm network.

What a card states comes from the model's page or paper; what neither says is left unknown. Revisions, and the size and
interpolation that each authors' `config.json` states, are as two public projects pin and quote them:
github.com/CraigMyles/raw2features (registry.yaml) and the manifest of the Spectra adapters (MedARC).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from eva_core.contracts.cards import ModelCard
from eva_core.hub.weight_files import weights_address

if TYPE_CHECKING:
    from torch import nn

    from eva_core.contracts.backbone import Backbone
    from eva_vision.models.timm_backbone import TimmBackbone

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def published(
    card: ModelCard,
    arch: str,
    names: Literal["timm", "transformers", "dinov2", "dinov3", "beit3", "conch", "conch_v1_5", "keep"] = "timm",
    size: int | None = None,
    head: "Callable[[int], nn.Module] | None" = None,
    kind: "type[TimmBackbone] | None" = None,
    **arch_args: Any,
) -> "Backbone":
    """Build a timm network with published weights.

    Nothing of the library that the weights are for is needed, and no code of the hub is run.

    Args:
        card: Says where the weights are.
        arch: A name that `timm.create_model` takes.
        names: The library, or the model, whose names the weights have in the file.
        size: Side of the image that the positions of the file are for, in pixels; the card's crop unless given.
        head: From the size of a token to the layer that makes the embedding of all tokens; its weights are in the file.
        kind: The class that holds the network.
        arch_args: Architecture arguments for timm.
    Raises:
        EvaError: The weights cannot be had, or do not fit (names the keys).
    """
    from eva_vision.models.state_dict_keys import CONVERSIONS
    from eva_vision.models.timm_backbone import build

    backbone = build(arch, size=size or card.geometry.crop, arch_args=arch_args, kind=kind)
    if head is not None:
        backbone.network.token_head = head(backbone.network.num_features)
    backbone.load(str(weights_address(card)), convert=CONVERSIONS.get(names))
    backbone.pooling = card.pooling  # for use without a protocol
    return backbone
