"""Models of Owkin: Phikon and Phikon-v2."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

PHIKON = ModelCard(
    name="phikon",
    dim=768,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    patch_size=16,
    prefix_tokens=1,
    mpp=(0.5,),
    licence="Owkin non-commercial",
    source="https://huggingface.co/owkin/phikon",
    revision="057cc0295895c2df3dd7681a89680da6015cbefe",
    trained_on="40 million tiles of TCGA, iBOT (Filiot et al. 2023, doi:10.1101/2023.07.21.23292757)",
    collections=("TCGA",),
)


@card(PHIKON)
def phikon() -> "Backbone":
    """Phikon, ViT-B/16 of Owkin.

    Source: github.com/owkin/HistoSSLscaling.
    """
    return published(PHIKON, "vit_base_patch16_224", names="transformers")


PHIKON_V2 = ModelCard(
    name="phikon_v2",
    dim=1024,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
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


@card(PHIKON_V2)
def phikon_v2() -> "Backbone":
    """Phikon-v2, ViT-L/16 of Owkin.

    Source: huggingface.co/owkin/phikon-v2.
    """
    return published(PHIKON_V2, "vit_large_patch16_224", names="transformers", init_values=1e-5)
