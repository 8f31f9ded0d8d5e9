"""Models of HKUST: GPFM and mSTAR."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

GPFM = ModelCard(
    name="gpfm",
    dim=1024,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=14,
    prefix_tokens=1,
    geometry=Geometry(interpolation="bicubic"),
    licence="CC-BY-NC-ND-4.0; its page on the hub says MIT",
    source="https://github.com/birkhoffkiki/GPFM",
    revision="ckpt",
    file="GPFM.pth#md5=0dc7e345de84f385d09c8c782b4b3236",
    trained_on="190 million patches of 72,000 slides of 33 public sets, distilled from UNI, CONCH and Phikon "
    "(Ma et al. 2024, arXiv:2407.18449)",
)


@card(GPFM)
def gpfm() -> "Backbone":
    """GPFM, ViT-L/14 of HKUST.

    Source: github.com/birkhoffkiki/GPFM, models/dinov2.
    """
    return published(
        GPFM,
        "vit_large_patch14_dinov2",
        names="dinov2",
        init_values=1e-5,
    )


MSTAR = ModelCard(
    name="mstar",
    dim=1024,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=16,
    prefix_tokens=1,
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/Wangyh/mSTAR",
    revision="162ae5da9897d4ff8b9a4c2daea175ae45012ef7",
    gated=True,
    trained_on="over 116 million patches of TCGA with reports and gene expression of 10,275 patients (Xu et al. 2025, "
    "doi:10.1038/s41467-025-66220-x)",
    collections=("TCGA", "others"),
)


@card(MSTAR)
def mstar() -> "Backbone":
    """Build mSTAR, ViT-L/16 of HKUST. Mean and std are its page's; its config has timm's.

    Source: huggingface.co/Wangyh/mSTAR.
    """
    return published(MSTAR, "vit_large_patch16_224", init_values=1e-5)
