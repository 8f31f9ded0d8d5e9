"""Models of HistAI: Hibou-B and Hibou-L."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

MEAN, STD = (0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)
HIBOU_B = ModelCard(
    name="hibou_b",
    dim=768,
    mean=MEAN,
    std=STD,
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


@card(HIBOU_B)
def hibou_b() -> "Backbone":
    """Hibou-B, ViT-B/14 with 4 registers and SwiGLU of HistAI.

    Source: github.com/HistAI/hibou.
    """
    return published(
        HIBOU_B,
        "vit_base_patch14_reg4_dinov2",
        names="transformers",
        mlp_ratio=2 * 2048 / 768,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
    )


HIBOU_L = ModelCard(
    name="hibou_l",
    dim=1024,
    mean=MEAN,
    std=STD,
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


@card(HIBOU_L)
def hibou_l() -> "Backbone":
    """Hibou-L, ViT-L/14 with 4 registers and SwiGLU of HistAI.

    Source: github.com/HistAI/hibou.
    """
    return published(
        HIBOU_L,
        "vit_large_patch14_reg4_dinov2",
        names="transformers",
        mlp_ratio=2 * 2736 / 1024,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
    )
