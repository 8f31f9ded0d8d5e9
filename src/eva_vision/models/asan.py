"""The model of the Asan Medical Center: OpenPath."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

OPENPATH = ModelCard(
    name="openpath",
    dim=1536,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=14,
    prefix_tokens=5,
    mpp=(0.5,),
    licence="Apache-2.0",
    source="https://huggingface.co/taejoon89/openpath",
    revision="22b339237195931eb56ea6c86653362edd2dd155",
    file="teacher_checkpoint.pth",
    trained_on="public slides: TCGA, TCIA, GTEx, CAMELYON, ACROBAT, SurGen and others, DINOv2 with gram anchoring, "
    "from Meta's DINOv2 (Jun 2026, huggingface.co/taejoon89/openpath)",
    collections=("TCGA", "GTEx", "CAMELYON16", "ACROBAT", "SurGen", "others"),
)


@card(OPENPATH)
def openpath() -> "Backbone":
    """OpenPath, ViT-g/14 with 4 registers of the Asan Medical Center.

    Source: huggingface.co/taejoon89/openpath.
    """
    return published(OPENPATH, "vit_giant_patch14_reg4_dinov2", names="dinov2")
