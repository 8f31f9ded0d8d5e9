"""The model of MAGIC-AI4Med, of Shanghai Jiao Tong University: KEEP."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

KEEP = ModelCard(
    name="keep",
    dim=768,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=16,
    prefix_tokens=1,
    geometry=Geometry(interpolation="bicubic"),
    licence="MIT",
    source="https://huggingface.co/Astaxanthin/KEEP",
    revision="28a25d95cc6ba27a7e6fab3f144e13dbafd8b21e",
    trained_on="143,000 groups of image and text of OpenPath (Twitter) and Quilt-1M, from UNI (Zhou et al. 2026, "
    "doi:10.1016/j.ccell.2026.01.019)",
    collections=("GTEx", "others"),
)


@card(KEEP)
def keep() -> "Backbone":
    """KEEP, ViT-L/16 with a projection of MAGIC-AI4Med; the embedding has length 1.

    Source: github.com/MAGIC-AI4Med/KEEP, quick_start/keep_inference.py.
    """
    from eva_vision.models.token_heads import Projection

    return published(
        KEEP, "vit_large_patch16_224", names="keep", head=lambda width: Projection(width, 768), init_values=1e-5
    )
