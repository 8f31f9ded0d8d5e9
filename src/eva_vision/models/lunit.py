"""Models of Lunit: two ViT-S from the files of a release."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import ModelCard, card
from eva_vision.models.published import published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone


def _card(name: str, patch_size: int) -> ModelCard:
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
        file=f"dino_vit_small_patch{patch_size}_ep200.torch",
        trained_on="19 million patches of TCGA, DINO (Kang et al. 2023, arXiv:2212.04690)",
        collections=("TCGA",),
    )


LUNIT_VITS16 = _card("lunit_vits16", 16)


@card(LUNIT_VITS16)
def lunit_vits16() -> "Backbone":
    """Lunit's ViT-S/16, trained with DINO.

    Source: github.com/lunit-io/benchmark-ssl-pathology.
    """
    return published(LUNIT_VITS16, "vit_small_patch16_224.dino")


LUNIT_VITS8 = _card("lunit_vits8", 8)


@card(LUNIT_VITS8)
def lunit_vits8() -> "Backbone":
    """Lunit's ViT-S/8, trained with DINO.

    Source: github.com/lunit-io/benchmark-ssl-pathology.
    """
    return published(LUNIT_VITS8, "vit_small_patch8_224.dino")
