"""The model of Stanford's Li Lab: MUSK."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

MUSK = ModelCard(
    name="musk",
    dim=1024,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    patch_size=16,
    prefix_tokens=1,
    geometry=Geometry(resize=384, crop=384, interpolation="bicubic"),
    precision="fp16",
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/xiangjx/musk",
    revision="de1ffed28608c197d2903f6fa42b491a3fbf0fb8",
    gated=True,
    trained_on="50 million images of 11,577 patients with 33 kinds of cancer, and a million pairs of image and text "
    "(Xiang et al. 2025, doi:10.1038/s41586-024-08378-w)",
    collections=("TCGA", "others"),
)


@card(MUSK)
def musk() -> "Backbone":
    """MUSK, the vision half of a BEiT-3-L/16 of Stanford: its class token at one scale, without head and norm.

    Source: github.com/lilab-stanford/MUSK.
    """
    return published(MUSK, "beit3_large_patch16_224", names="beit3", global_pool="token")
