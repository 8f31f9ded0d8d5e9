"""Models that every result is held against: random weights, ImageNet weights, and six colour numbers."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD
from eva_vision.models.timm import timm_model

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone


@card(
    ModelCard(
        name="random_vits16",
        dim=384,
        patch_size=16,
        prefix_tokens=1,
        geometry=Geometry(resize=249, crop=224, interpolation="bicubic"),
        source="none: random weights from seed 0",
        licence="Apache-2.0",
        trained_on="nothing",
        collections=(),
    )
)
def random_vits16(depth: int = 12) -> "Backbone":
    """ViT-S/16 with random weights from seed 0: what the architecture alone explains.

    Args:
        depth: Number of blocks.
    """
    return timm_model("vit_small_patch16_224", depth=depth)


@card(
    ModelCard(
        name="imagenet_dino_vits16",
        dim=384,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        patch_size=16,
        prefix_tokens=1,
        geometry=Geometry(resize=224, crop=224, interpolation="bicubic"),
        source="https://huggingface.co/timm/vit_small_patch16_224.dino",
        licence="Apache-2.0",
        trained_on="ImageNet-1k, DINO (Caron et al. 2021)",
        collections=(),
    )
)
def imagenet_dino_vits16() -> "Backbone":
    """ViT-S/16 trained with DINO on ImageNet: the usual start of pathology pretraining."""
    return timm_model("vit_small_patch16_224.dino", pretrained=True)


COLOUR_STATS = ModelCard(
    name="colour_stats",
    dim=6,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    pooling="mean",
    source="none",
    licence="Apache-2.0",
    trained_on="nothing",
    collections=(),
)


@card(COLOUR_STATS)
def colour_stats() -> "Backbone":
    """Mean and standard deviation of each channel: what six colour numbers alone explain."""
    from eva_vision.models.colour_stats import ColourStats

    return ColourStats(COLOUR_STATS)
