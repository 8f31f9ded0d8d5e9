"""Models that every result is held against: random weights, ImageNet weights, and six colour numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from eva_core.extraction.embed import colour_statistics
from eva_core.types import Backbone, Geometry, ModelCard, card
from eva_vision.models.timm import timm_model


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
def random_vits16(depth: int = 12) -> Backbone:
    """ViT-S/16 with random weights from seed 0: what the architecture alone explains.

    Args:
        depth: Number of blocks.
    """
    return timm_model("vit_small_patch16_224", depth=depth)


@card(
    ModelCard(
        name="imagenet_dino_vits16",
        dim=384,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        patch_size=16,
        prefix_tokens=1,
        geometry=Geometry(resize=224, crop=224, interpolation="bicubic"),
        source="timm/vit_small_patch16_224.dino",
        licence="Apache-2.0",
        trained_on="ImageNet-1k, DINO (Caron et al. 2021)",
        collections=(),
    )
)
def imagenet_dino_vits16() -> Backbone:
    """ViT-S/16 trained with DINO on ImageNet: the usual start of pathology pretraining."""
    return timm_model("vit_small_patch16_224.dino", pretrained=True)


COLOUR_CARD = ModelCard(
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


@card(COLOUR_CARD)
def colour_stats() -> Backbone:
    """Mean and standard deviation of each channel: what six colour numbers alone explain."""
    return ColourStats()


class ColourStats(Backbone):
    """Six numbers an image."""

    def __init__(self) -> None:
        super().__init__(COLOUR_CARD)

    def forward(self, images: Tensor) -> Tensor:
        """Pixels in 0-1, (B, 3, H, W) -> (B, 6): means, then standard deviations."""
        return colour_statistics(images)

    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None, cell: int = 16) -> Tensor:
        """Pixels in 0-1, (B, 3, H, W) -> the same six numbers of each 16 px cell, (B, 6, H / 16, W / 16)."""
        cells = images.unfold(2, cell, cell).unfold(3, cell, cell)  # (B, 3, H / 16, W / 16, 16, 16)
        std, mean = torch.std_mean(cells, dim=(4, 5), correction=0)
        return torch.cat([mean, std], dim=1)
