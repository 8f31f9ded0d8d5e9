"""Models of the Mahmood Lab: UNI, UNI2-h, CONCH and CONCH v1.5."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
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


CONCH = ModelCard(
    name="conch",
    dim=512,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    patch_size=16,
    prefix_tokens=1,
    geometry=Geometry(resize=448, crop=448, interpolation="bicubic"),
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/MahmoodLab/CONCH",
    revision="f9ca9f877171a28ade80228fb195ac5d79003357",
    gated=True,
    trained_on="1.17 million pairs of image and caption (Lu et al. 2024, doi:10.1038/s41591-024-02856-4)",
    collections=(),
)


@card(CONCH)
def conch() -> "Backbone":
    """CONCH, ViT-B/16 with attention pooling of the Mahmood Lab; the embedding before the projection for retrieval.

    Source: github.com/mahmoodlab/CONCH.
    """
    from eva_vision.models.token_heads import AttentionPooling

    return published(
        CONCH, "vit_base_patch16_224", names="conch", head=lambda width: AttentionPooling(width, 512, bias=True)
    )


CONCH_V1_5 = ModelCard(
    name="conch_v1_5",
    dim=768,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=16,
    prefix_tokens=1,
    geometry=Geometry(resize=448, crop=448),
    precision="fp16",
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/MahmoodLab/TITAN",
    revision="dac6773d9961cfc75503440676ff157a2c6e8d2e",
    file="conch_v1_5_pytorch_model.bin",
    gated=True,
    trained_on="pairs of image and caption; TCGA, PAIP, CPTAC and PANDA were left out (Ding et al. 2025, "
    "doi:10.1038/s41591-025-03982-3)",
)


@card(CONCH_V1_5)
def conch_v1_5() -> "Backbone":
    """CONCH v1.5, ViT-L/16 with attention pooling of the Mahmood Lab, from the repository of TITAN.

    Source: conch_v1_5.py of huggingface.co/MahmoodLab/TITAN.
    """
    from eva_vision.models.token_heads import AttentionPooling

    return published(
        CONCH_V1_5,
        "vit_large_patch16_224",
        names="conch_v1_5",
        head=lambda width: AttentionPooling(width, 768, bias=False),
        init_values=1e-6,
    )
