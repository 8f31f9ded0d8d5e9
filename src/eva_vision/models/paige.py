"""Models of Paige: Virchow and Virchow2."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

VIRCHOW = ModelCard(
    name="virchow",
    dim=2560,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=14,
    prefix_tokens=1,
    geometry=Geometry(interpolation="bicubic"),
    pooling="cls_mean",
    precision="fp16",
    mpp=(0.5,),
    licence="Apache-2.0",
    source="https://huggingface.co/paige-ai/Virchow",
    revision="19eebc84ae33e79f1b2d866e6ff90ae50e522f9a",
    gated=True,
    trained_on="1.5 million H&E slides of Memorial Sloan Kettering (Vorontsov et al. 2024, "
    "doi:10.1038/s41591-024-03141-0)",
    collections=(),
)


@card(VIRCHOW)
def virchow() -> "Backbone":
    """Virchow, ViT-H/14 of Paige.

    Source: huggingface.co/paige-ai/Virchow.
    """
    return published(
        VIRCHOW, "vit_huge_patch14_224", mlp_ratio=5.3375, mlp_layer="SwiGLUPacked", act_layer="silu", init_values=1e-5
    )


VIRCHOW2 = ModelCard(
    name="virchow2",
    dim=2560,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=14,
    prefix_tokens=5,
    geometry=Geometry(interpolation="bicubic"),
    pooling="cls_mean",
    precision="fp16",
    mpp=(0.25, 0.5, 1.0, 2.0),
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/paige-ai/Virchow2",
    revision="3158645804b69e3f3bc4439d4116edddf0840a72",
    gated=True,
    trained_on="3.1 million slides of several institutions and stains (Zimmermann et al. 2024, arXiv:2408.00738)",
)


@card(VIRCHOW2)
def virchow2() -> "Backbone":
    """Virchow2, ViT-H/14 with 4 registers of Paige.

    Source: huggingface.co/paige-ai/Virchow2.
    """
    return published(
        VIRCHOW2,
        "vit_huge_patch14_224",
        mlp_ratio=5.3375,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
        reg_tokens=4,
        init_values=1e-5,
    )
