"""The tile encoder of Microsoft and Providence: Prov-GigaPath."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

PROV_GIGAPATH = ModelCard(
    name="prov_gigapath",
    dim=1536,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=16,
    prefix_tokens=1,
    geometry=Geometry(resize=256, crop=224, interpolation="bicubic"),
    mpp=(0.5,),
    licence="Apache-2.0; research use only, says the model card",
    source="https://huggingface.co/prov-gigapath/prov-gigapath",
    revision="eba85dd46097c3eedfcc2a3a9a930baecb6bcc19",
    gated=True,
    trained_on="Prov-Path: 1.3 billion tiles of 171,189 slides of Providence (Xu et al. 2024, "
    "doi:10.1038/s41586-024-07441-w)",
    collections=(),
)


@card(PROV_GIGAPATH)
def prov_gigapath() -> "Backbone":
    """Prov-GigaPath, ViT-g/16 tile encoder of Microsoft and Providence.

    Source: github.com/prov-gigapath/prov-gigapath.
    """
    return published(
        PROV_GIGAPATH,
        "vit_giant_patch14_dinov2",
        patch_size=16,
        depth=40,
        num_heads=24,
        mlp_ratio=5.33334,
        init_values=1e-5,
    )
