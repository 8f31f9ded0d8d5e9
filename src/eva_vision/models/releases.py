"""Pathology foundation models from the files of a release, and those under DINOv2's own names.

For where the facts on the cards come from see `pathology.py`.
"""

from eva_core.types import Backbone, Geometry, ModelCard, card
from eva_vision.models.keys import from_dinov2
from eva_vision.models.pathology import IMAGENET
from eva_vision.models.timm import converted, timm_model

KAIKO = "https://github.com/kaiko-ai/towards_large_pathology_fms/releases/download/0.0.1"
LUNIT = "https://github.com/lunit-io/benchmark-ssl-pathology/releases/download/pretrained-weights"
GPFM = "https://github.com/birkhoffkiki/GPFM/releases/download/ckpt/GPFM.pth#md5=0dc7e345de84f385d09c8c782b4b3236"


def _kaiko(name: str, dim: int, patch_size: int, prefix_tokens: int = 1) -> ModelCard:
    return ModelCard(
        name=name,
        dim=dim,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        patch_size=patch_size,
        prefix_tokens=prefix_tokens,
        mpp=(0.25, 0.5, 1.0, 2.0),
        licence="Kaiko Non-Commercial Public License, version 1",
        source="https://github.com/kaiko-ai/towards_large_pathology_fms",
        revision="0.0.1",
        trained_on="29,000 FFPE and frozen slides of TCGA (kaiko.ai 2024, arXiv:2404.15217)",
        collections=("TCGA",),
    )


@card(_kaiko("kaiko_vits16", 384, 16))
def kaiko_vits16() -> Backbone:
    """Kaiko's ViT-S/16, trained with DINO.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return timm_model("vit_small_patch16_224", f"{KAIKO}/vits16.pth", size=224)


@card(_kaiko("kaiko_vits8", 384, 8))
def kaiko_vits8() -> Backbone:
    """Kaiko's ViT-S/8, trained with DINO.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return timm_model("vit_small_patch8_224", f"{KAIKO}/vits8.pth", size=224)


@card(_kaiko("kaiko_vitb16", 768, 16))
def kaiko_vitb16() -> Backbone:
    """Kaiko's ViT-B/16, trained with DINO.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return timm_model("vit_base_patch16_224", f"{KAIKO}/vitb16.pth", size=224)


@card(_kaiko("kaiko_vitb8", 768, 8))
def kaiko_vitb8() -> Backbone:
    """Kaiko's ViT-B/8, trained with DINO.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return timm_model("vit_base_patch8_224", f"{KAIKO}/vitb8.pth", size=224)


@card(_kaiko("kaiko_vitl14", 1024, 14, prefix_tokens=5))
def kaiko_vitl14() -> Backbone:
    """Kaiko's ViT-L/14 with 4 registers, trained with DINOv2; its positions are those of a 518 px image.

    Source: github.com/kaiko-ai/towards_large_pathology_fms, hubconf.py.
    """
    return converted("vit_large_patch14_reg4_dinov2", f"{KAIKO}/vitl14.pth", from_dinov2, size=518)


def _lunit(name: str, patch_size: int) -> ModelCard:
    return ModelCard(
        name=name,
        dim=384,
        mean=(0.70322989, 0.53606487, 0.66096631),
        std=(0.21716536, 0.26081574, 0.20723464),
        patch_size=patch_size,
        prefix_tokens=1,
        mpp=(0.25, 0.5),
        licence="Lunit Public License, non-commercial",
        source="https://github.com/lunit-io/benchmark-ssl-pathology",
        revision="pretrained-weights",
        trained_on="19 million patches of TCGA, DINO (Kang et al. 2023, arXiv:2212.04690)",
        collections=("TCGA",),
    )


@card(_lunit("lunit_vits16", 16))
def lunit_vits16() -> Backbone:
    """Lunit's ViT-S/16, trained with DINO.

    Source: github.com/lunit-io/benchmark-ssl-pathology.
    """
    return timm_model("vit_small_patch16_224.dino", f"{LUNIT}/dino_vit_small_patch16_ep200.torch", size=224)


@card(_lunit("lunit_vits8", 8))
def lunit_vits8() -> Backbone:
    """Lunit's ViT-S/8, trained with DINO.

    Source: github.com/lunit-io/benchmark-ssl-pathology.
    """
    return timm_model("vit_small_patch8_224.dino", f"{LUNIT}/dino_vit_small_patch8_ep200.torch", size=224)


@card(
    ModelCard(
        name="gpfm",
        dim=1024,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=14,
        prefix_tokens=1,
        geometry=Geometry(interpolation="bicubic"),
        licence="CC-BY-NC-ND-4.0; its page on the hub says MIT",
        source="https://github.com/birkhoffkiki/GPFM",
        revision="ckpt",
        trained_on="190 million patches of 72,000 slides of 33 public sets, distilled from UNI, CONCH and Phikon "
        "(Ma et al. 2024, arXiv:2407.18449)",
    )
)
def gpfm() -> Backbone:
    """GPFM, ViT-L/14 of HKUST.

    Source: github.com/birkhoffkiki/GPFM, models/dinov2.
    """
    return converted("vit_large_patch14_dinov2", GPFM, from_dinov2, size=224, init_values=1e-5)


@card(
    ModelCard(
        name="openmidnight",
        dim=1536,
        mean=IMAGENET[0],
        std=IMAGENET[1],
        patch_size=14,
        prefix_tokens=5,
        licence="Apache-2.0",
        source="https://huggingface.co/SophontAI/OpenMidnight",
        revision="87189e6674d397a14a5cd342c97b1a1615a185aa",
        gated=True,
        trained_on="12,000 slides of TCGA (Kaplan et al. 2025, github.com/MedARC-AI/OpenMidnight)",
        collections=("TCGA",),
    )
)
def openmidnight() -> Backbone:
    """OpenMidnight, ViT-g/14 with 4 registers of Sophont and MedARC.

    Source: github.com/MedARC-AI/OpenMidnight.
    """
    file = "hf-hub:SophontAI/OpenMidnight@87189e6674d397a14a5cd342c97b1a1615a185aa/teacher_checkpoint_load.pt"
    return converted("vit_giant_patch14_reg4_dinov2", file, from_dinov2, size=224)
