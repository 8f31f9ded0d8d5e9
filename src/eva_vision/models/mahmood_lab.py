"""Models of the Mahmood Lab: UNI and UNI2-h."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

UNI = ModelCard(
    name="uni",
    dim=1024,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=16,
    prefix_tokens=1,
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/MahmoodLab/UNI",
    revision="b55a5ec6cade1a39edfe6534189a9b8ca7a022f0",
    gated=True,
    trained_on="Mass-100K: 100 million patches of 100,000 slides of MGH, BWH and GTEx (Chen et al. 2024, "
    "doi:10.1038/s41591-024-02857-3)",
    collections=("GTEx",),
)


@card(UNI)
def uni() -> "Backbone":
    """UNI, ViT-L/16 of the Mahmood Lab.

    Source: github.com/mahmoodlab/UNI.
    """
    return published(UNI, "vit_large_patch16_224", init_values=1e-5)


UNI2_H = ModelCard(
    name="uni2_h",
    dim=1536,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=14,
    prefix_tokens=9,
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/MahmoodLab/UNI2-h",
    revision="d517a8dd47902dd7c308b3c36f63bce47e7b9a43",
    gated=True,
    trained_on="over 200 million H&E and IHC patches of over 350,000 slides (github.com/mahmoodlab/UNI)",
)


@card(UNI2_H)
def uni2_h() -> "Backbone":
    """UNI2-h, ViT-H/14 with 8 registers of the Mahmood Lab.

    Source: github.com/mahmoodlab/UNI.
    """
    return published(
        UNI2_H,
        "vit_giant_patch14_224",
        depth=24,
        num_heads=24,
        embed_dim=1536,
        mlp_ratio=2.66667 * 2,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
        reg_tokens=8,
        no_embed_class=True,
        init_values=1e-5,
    )
