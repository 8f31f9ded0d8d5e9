"""DistillPath of Kaspar, Ignatov and Boeva: ViT-S/16 distilled from larger models, from two beginnings."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

ARCH = "vit_small_patch16_224"


def _card(begin: str, teacher: str, teacher_name: str) -> ModelCard:
    """A card; `begin` is KS16 (from kaiko's ViT-S/16) or IS16 (from ImageNet-21k)."""
    from_kaiko = begin == "KS16"
    origin = "kaiko_vits16" if from_kaiko else "a ViT-S/16 of ImageNet-21k"
    return ModelCard(
        name=f"distillpath_{begin}_{teacher}".lower(),
        dim=384,
        mean=(0.5, 0.5, 0.5) if from_kaiko else IMAGENET_MEAN,
        std=(0.5, 0.5, 0.5) if from_kaiko else IMAGENET_STD,
        patch_size=16,
        prefix_tokens=1,
        licence='unknown; its page on the hub says "other"',
        source=f"https://huggingface.co/RamonK/DistillPath-{begin}-{teacher}",
        trained_on=f"6,000 slides of TCGA; from {origin}, distilled from {teacher_name} (Kaspar et al. 2026, "
        "arXiv:2608.17872)",
        collections=("TCGA",),
    )


KS16_VIRCHOW2 = _card("KS16", "Virchow2", "Virchow2")


@card(KS16_VIRCHOW2)
def distillpath_ks16_virchow2() -> "Backbone":
    """DistillPath, from kaiko's ViT-S/16, distilled from Virchow2.

    Source: huggingface.co/RamonK/DistillPath-KS16-Virchow2.
    """
    return published(KS16_VIRCHOW2, ARCH)


KS16_HOPT0 = _card("KS16", "HOpt0", "H-optimus-0")


@card(KS16_HOPT0)
def distillpath_ks16_hopt0() -> "Backbone":
    """DistillPath, from kaiko's ViT-S/16, distilled from H-optimus-0.

    Source: huggingface.co/RamonK/DistillPath-KS16-HOpt0.
    """
    return published(KS16_HOPT0, ARCH)


KS16_UNI2H = _card("KS16", "UNI2h", "UNI2-h")


@card(KS16_UNI2H)
def distillpath_ks16_uni2h() -> "Backbone":
    """DistillPath, from kaiko's ViT-S/16, distilled from UNI2-h.

    Source: huggingface.co/RamonK/DistillPath-KS16-UNI2h.
    """
    return published(KS16_UNI2H, ARCH)


IS16_VIRCHOW2 = _card("IS16", "Virchow2", "Virchow2")


@card(IS16_VIRCHOW2)
def distillpath_is16_virchow2() -> "Backbone":
    """DistillPath, from a ViT-S/16 of ImageNet-21k, distilled from Virchow2.

    Source: huggingface.co/RamonK/DistillPath-IS16-Virchow2.
    """
    return published(IS16_VIRCHOW2, ARCH)


IS16_HOPT0 = _card("IS16", "HOpt0", "H-optimus-0")


@card(IS16_HOPT0)
def distillpath_is16_hopt0() -> "Backbone":
    """DistillPath, from a ViT-S/16 of ImageNet-21k, distilled from H-optimus-0.

    Source: huggingface.co/RamonK/DistillPath-IS16-HOpt0.
    """
    return published(IS16_HOPT0, ARCH)


IS16_UNI2H = _card("IS16", "UNI2h", "UNI2-h")


@card(IS16_UNI2H)
def distillpath_is16_uni2h() -> "Backbone":
    """DistillPath, from a ViT-S/16 of ImageNet-21k, distilled from UNI2-h.

    Source: huggingface.co/RamonK/DistillPath-IS16-UNI2h.
    """
    return published(IS16_UNI2H, ARCH)
