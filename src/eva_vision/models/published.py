"""Published models: the weights that a card names, in a timm network.

What a card states comes from the model's page or paper; what neither says is left unknown. Revisions, and the size and
interpolation that each authors' `config.json` states, are as two public projects pin and quote them:
github.com/CraigMyles/raw2features (registry.yaml) and the manifest of the Spectra adapters (MedARC).
"""

from typing import TYPE_CHECKING, Any, Literal

from eva_core.contracts.cards import ModelCard

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HUB_PAGE = "https://huggingface.co/"


def published(
    card: ModelCard,
    arch: str,
    file: str = "",
    names: Literal["timm", "transformers", "dinov2"] = "timm",
    size: int | None = None,
    **arch_args: Any,
) -> "Backbone":
    """Build a timm network with published weights.

    Nothing of the library that the weights are for is needed, and no code of the hub is run.

    Args:
        card: Its `source` is a page of the hub, or of a repository whose release is `revision`.
        arch: A name that `timm.create_model` takes.
        file: Name of the file, with `#md5=...` where a checksum is known; on the hub the usual one unless given.
        names: The library whose names the weights have in the file.
        size: Side of the image that the positions of the file are for, in pixels; the card's crop unless given.
        arch_args: Architecture arguments for timm.
    Raises:
        EvaError: The weights cannot be had, or do not fit (names the keys).
    """
    from eva_vision.models.state_dict_keys import CONVERSIONS
    from eva_vision.models.timm_backbone import build

    backbone = build(arch, size=size or card.geometry.crop, arch_args=arch_args)
    backbone.load(address(card, file), convert=CONVERSIONS.get(names))
    backbone.pooling = card.pooling  # for use without a protocol
    return backbone


def address(card: ModelCard, file: str = "") -> str:
    """Say where the weights of a card are, as `--model.checkpoint` takes it."""
    if card.source.startswith(HUB_PAGE):
        repository = f"hf-hub:{card.source.removeprefix(HUB_PAGE)}@{card.revision}"
        return f"{repository}/{file}" if file else repository
    return f"{card.source}/releases/download/{card.revision}/{file}"
