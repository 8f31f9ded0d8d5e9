"""The model of Sophont and MedARC: OpenMidnight."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

OPENMIDNIGHT = ModelCard(
    name="openmidnight",
    dim=1536,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=14,
    prefix_tokens=5,
    licence="Apache-2.0",
    source="https://huggingface.co/SophontAI/OpenMidnight",
    revision="87189e6674d397a14a5cd342c97b1a1615a185aa",
    file="teacher_checkpoint_load.pt",
    gated=True,
    trained_on="12,000 slides of TCGA (Kaplan et al. 2025, github.com/MedARC-AI/OpenMidnight)",
    collections=("TCGA",),
)


@card(OPENMIDNIGHT)
def openmidnight() -> "Backbone":
    """OpenMidnight, ViT-g/14 with 4 registers of Sophont and MedARC.

    Source: github.com/MedARC-AI/OpenMidnight.
    """
    return published(OPENMIDNIGHT, "vit_giant_patch14_reg4_dinov2", names="dinov2")
