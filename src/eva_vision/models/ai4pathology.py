"""The model of AI4Pathology, of the Shanghai AI Laboratory and others: PathOrchestra."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

PATH_ORCHESTRA = ModelCard(
    name="path_orchestra",
    dim=1024,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=16,
    prefix_tokens=1,
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/AI4Pathology/PathOrchestra",
    revision="8280b11a63919f25e4610f3315c2646b5f38bbb5",
    gated=True,
    trained_on="300,000 slides of 20 kinds of tissue and several centres, DINOv2 (Yan et al. 2025, arXiv:2503.24345)",
)


@card(PATH_ORCHESTRA)
def path_orchestra() -> "Backbone":
    """PathOrchestra, ViT-L/16 of AI4Pathology.

    Source: huggingface.co/AI4Pathology/PathOrchestra.
    """
    return published(PATH_ORCHESTRA, "vit_large_patch16_224", init_values=1e-5)
