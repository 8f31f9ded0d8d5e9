"""Pathology foundation models that are published in transformers' format: their weights go into timm's networks.

Nothing of transformers is needed, and no code of the hub is run. For cards and revisions see `pathology.py`.
"""

from eva_core.types import Backbone, Geometry, ModelCard, card
from eva_vision.models.keys import from_transformers
from eva_vision.models.pathology import IMAGENET
from eva_vision.models.timm import converted

HIBOU = (0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)


@card(
    ModelCard(
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
)
def midnight_12k() -> Backbone:
    """Midnight-12k, ViT-g/14 of kaiko.

    Source: huggingface.co/kaiko-ai/midnight.
    """
    weights = "hf-hub:kaiko-ai/midnight@adc6b15679c981cce6f9b018bbad09d16eeeda9f"
    backbone = converted("vit_giant_patch14_dinov2", weights, from_transformers, size=224)
    backbone.pooling = "cls_mean"  # the card's, for whoever runs it without a protocol
    return backbone


@card(
    ModelCard(
        name="phikon",
        dim=768,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=16,
        prefix_tokens=1,
        mpp=(0.5,),
        licence="Owkin non-commercial",
        source="https://huggingface.co/owkin/phikon",
        revision="057cc0295895c2df3dd7681a89680da6015cbefe",
        trained_on="40 million tiles of TCGA, iBOT (Filiot et al. 2023, doi:10.1101/2023.07.21.23292757)",
        collections=("TCGA",),
    )
)
def phikon() -> Backbone:
    """Phikon, ViT-B/16 of Owkin.

    Source: github.com/owkin/HistoSSLscaling.
    """
    weights = "hf-hub:owkin/phikon@057cc0295895c2df3dd7681a89680da6015cbefe"
    return converted("vit_base_patch16_224", weights, from_transformers, size=224)


@card(
    ModelCard(
        name="phikon_v2",
        dim=1024,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=16,
        prefix_tokens=1,
        geometry=Geometry(interpolation="bicubic"),
        mpp=(0.5,),
        licence="Owkin non-commercial",
        source="https://huggingface.co/owkin/phikon-v2",
        revision="2ae989a9c40cffaa27f0a6cb29cc94d1d6f9a5fd",
        trained_on="PANCAN-XL: 456 million tiles of over 100 public cohorts, TCGA, CPTAC and GTEx among them "
        "(Filiot et al. 2024, arXiv:2409.09173)",
        collections=("TCGA", "CPTAC", "GTEx", "others"),
    )
)
def phikon_v2() -> Backbone:
    """Phikon-v2, ViT-L/16 of Owkin.

    Source: huggingface.co/owkin/phikon-v2.
    """
    weights = "hf-hub:owkin/phikon-v2@2ae989a9c40cffaa27f0a6cb29cc94d1d6f9a5fd"
    return converted("vit_large_patch16_224", weights, from_transformers, size=224, init_values=1e-5)


@card(
    ModelCard(
        name="hibou_b",
        dim=768,
        mean=HIBOU[0],
        std=HIBOU[1],
        patch_size=14,
        prefix_tokens=5,
        geometry=Geometry(interpolation="bicubic"),
        licence="Apache-2.0",
        source="https://huggingface.co/histai/hibou-b",
        revision="7fdc8cce365ebfd9e7e60ee6ee9a8d4d59388f3c",
        gated=True,
        trained_on="512 million patches of 1.1 million proprietary slides, H&E and others (Nechaev et al. 2024, "
        "arXiv:2406.05074)",
        collections=(),
    )
)
def hibou_b() -> Backbone:
    """Hibou-B, ViT-B/14 with 4 registers and SwiGLU of HistAI.

    Source: github.com/HistAI/hibou.
    """
    return converted(
        "vit_base_patch14_reg4_dinov2",
        "hf-hub:histai/hibou-b@7fdc8cce365ebfd9e7e60ee6ee9a8d4d59388f3c",
        from_transformers,
        size=224,
        mlp_ratio=2 * 2048 / 768,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
    )


@card(
    ModelCard(
        name="hibou_l",
        dim=1024,
        mean=HIBOU[0],
        std=HIBOU[1],
        patch_size=14,
        prefix_tokens=5,
        geometry=Geometry(interpolation="bicubic"),
        licence="Apache-2.0",
        source="https://huggingface.co/histai/hibou-L",
        revision="31a3b9fee16554c8552cb643d311733bce8faf7c",
        gated=True,
        trained_on="1.2 billion patches of 1.1 million proprietary slides, H&E and others (Nechaev et al. 2024, "
        "arXiv:2406.05074)",
        collections=(),
    )
)
def hibou_l() -> Backbone:
    """Hibou-L, ViT-L/14 with 4 registers and SwiGLU of HistAI.

    Source: github.com/HistAI/hibou.
    """
    return converted(
        "vit_large_patch14_reg4_dinov2",
        "hf-hub:histai/hibou-L@31a3b9fee16554c8552cb643d311733bce8faf7c",
        from_transformers,
        size=224,
        mlp_ratio=2 * 2736 / 1024,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
    )
