"""Models of kaiko: five ViTs from the files of a release, and Midnight-12k."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import ModelCard, card
from eva_vision.models.published import published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone


def _card(name: str, dim: int, patch_size: int, file: str, prefix_tokens: int = 1) -> ModelCard:
    return ModelCard(
        name=name,
        dim=dim,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        patch_size=patch_size,
        prefix_tokens=prefix_tokens,
        mpp=(0.25, 0.5, 1.0, 2.0),
        licence="Kaiko Non-Commercial Public License, version 1",
        source="https://github.com/kaiko-ai/towards_large_pathology_fms",
        revision="0.0.1",
        file=file,
        trained_on="29,000 FFPE and frozen slides of TCGA (kaiko.ai 2024, arXiv:2404.15217)",
        collections=("TCGA",),
    )


KAIKO_VITS16 = _card("kaiko_vits16", 384, 16, "vits16.pth")


@card(KAIKO_VITS16)
def kaiko_vits16() -> "Backbone":
    """Kaiko's ViT-S/16, trained with DINO.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return published(KAIKO_VITS16, "vit_small_patch16_224")


KAIKO_VITS8 = _card("kaiko_vits8", 384, 8, "vits8.pth")


@card(KAIKO_VITS8)
def kaiko_vits8() -> "Backbone":
    """Kaiko's ViT-S/8, trained with DINO.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return published(KAIKO_VITS8, "vit_small_patch8_224")


KAIKO_VITB16 = _card("kaiko_vitb16", 768, 16, "vitb16.pth")


@card(KAIKO_VITB16)
def kaiko_vitb16() -> "Backbone":
    """Kaiko's ViT-B/16, trained with DINO.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return published(KAIKO_VITB16, "vit_base_patch16_224")


KAIKO_VITB8 = _card("kaiko_vitb8", 768, 8, "vitb8.pth")


@card(KAIKO_VITB8)
def kaiko_vitb8() -> "Backbone":
    """Kaiko's ViT-B/8, trained with DINO.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return published(KAIKO_VITB8, "vit_base_patch8_224")


KAIKO_VITL14 = _card("kaiko_vitl14", 1024, 14, "vitl14.pth", prefix_tokens=5)


@card(KAIKO_VITL14)
def kaiko_vitl14() -> "Backbone":
    """Kaiko's ViT-L/14 with 4 registers, trained with DINOv2; its positions are those of a 518 px image.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return published(KAIKO_VITL14, "vit_large_patch14_reg4_dinov2", names="dinov2", size=518)


MIDNIGHT_12K = ModelCard(
    name="midnight_12k",
    dim=3072,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    patch_size=14,
    prefix_tokens=1,
    pooling="cls_mean",
    mpp=(0.25, 0.5, 1.0, 2.0),
    licence="MIT",
    source="https://huggingface.co/kaiko-ai/midnight",
    revision="adc6b15679c981cce6f9b018bbad09d16eeeda9f",
    trained_on="12,000 FFPE slides of TCGA (Karasikov et al. 2025, arXiv:2504.05186)",
    collections=("TCGA",),
)


@card(MIDNIGHT_12K)
def midnight_12k() -> "Backbone":
    """Midnight-12k, ViT-g/14 of kaiko.

    Source: huggingface.co/kaiko-ai/midnight.
    """
    return published(MIDNIGHT_12K, "vit_giant_patch14_dinov2", names="transformers")
