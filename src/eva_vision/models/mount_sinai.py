"""Models of Mount Sinai's computational pathology: SP22M and SP85M."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import IMAGENET_MEAN, IMAGENET_STD, published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone


def _card(name: str, dim: int, revision: str = "unknown") -> ModelCard:
    return ModelCard(
        name=name,
        dim=dim,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        patch_size=16,
        prefix_tokens=1,
        geometry=Geometry(interpolation="bicubic"),
        mpp=(0.5,),
        licence="CC-BY-NC-SA-4.0",
        source=f"https://huggingface.co/MountSinaiCompPath/{name.upper()}",
        revision=revision,
        trained_on="1.6 billion tiles of 423,000 slides of Mount Sinai, DINO (Campanella et al. 2023, "
        "arXiv:2310.07033, and 2024, arXiv:2407.06508)",
        collections=(),
    )


SP22M = _card("sp22m", 384, "8f636e50446c6b45008fa8cecf30f7bc92633a11")


@card(SP22M)
def sp22m() -> "Backbone":
    """SP22M, ViT-S/16 of Mount Sinai.

    Source: huggingface.co/MountSinaiCompPath/SP22M.
    """
    return published(SP22M, "vit_small_patch16_224")


SP85M = _card("sp85m", 768)


@card(SP85M)
def sp85m() -> "Backbone":
    """SP85M, ViT-B/16 of Mount Sinai; that its file is like SP22M's is not verified.

    Source: huggingface.co/MountSinaiCompPath/SP85M.
    """
    return published(SP85M, "vit_base_patch16_224")
