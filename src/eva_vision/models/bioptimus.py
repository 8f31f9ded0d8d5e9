"""Models of Bioptimus: H-optimus-0, H-optimus-1 and H0-mini."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_vision.models.published import published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

MEAN, STD = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
H_OPTIMUS_0 = ModelCard(
    name="h_optimus_0",
    dim=1536,
    mean=MEAN,
    std=STD,
    patch_size=14,
    prefix_tokens=5,
    precision="fp16",
    mpp=(0.5,),
    licence="Apache-2.0",
    source="https://huggingface.co/bioptimus/H-optimus-0",
    revision="b145cc1e6c6b30d3251aa8b1f844e6974188a743",
    gated=True,
    trained_on="proprietary: over 500,000 H&E slides (github.com/bioptimus/releases, h-optimus/v0)",
    collections=(),
)


@card(H_OPTIMUS_0)
def h_optimus_0() -> "Backbone":
    """H-optimus-0, ViT-g/14 with 4 registers of Bioptimus.

    Source: github.com/bioptimus/releases, models/h-optimus/v0.
    """
    return published(H_OPTIMUS_0, "vit_giant_patch14_reg4_dinov2", init_values=1e-5)


H_OPTIMUS_1 = ModelCard(
    name="h_optimus_1",
    dim=1536,
    mean=MEAN,
    std=STD,
    patch_size=14,
    prefix_tokens=5,
    precision="fp16",
    mpp=(0.5,),
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/bioptimus/H-optimus-1",
    revision="3592cb220dec7a150c5d7813fb56e68bd57473b9",
    gated=True,
    trained_on="proprietary: over 1 million H&E slides of over 800,000 patients (resources.bioptimus.com)",
    collections=(),
)


@card(H_OPTIMUS_1)
def h_optimus_1() -> "Backbone":
    """H-optimus-1, ViT-g/14 with 4 registers of Bioptimus.

    Source: huggingface.co/bioptimus/H-optimus-1.
    """
    return published(H_OPTIMUS_1, "vit_giant_patch14_reg4_dinov2", init_values=1e-5)


H0_MINI = ModelCard(
    name="h0_mini",
    dim=768,
    mean=MEAN,
    std=STD,
    patch_size=14,
    prefix_tokens=5,
    geometry=Geometry(interpolation="bicubic"),
    precision="fp16",
    licence="CC-BY-NC-ND-4.0",
    source="https://huggingface.co/bioptimus/H0-mini",
    revision="5b5cc0505d19ae558270045eb0df8c34df4d9609",
    gated=True,
    trained_on="43 million tiles of TCGA, distilled from H-optimus-0 (Filiot et al. 2025, arXiv:2501.16239)",
    collections=("TCGA",),
)


@card(H0_MINI)
def h0_mini() -> "Backbone":
    """H0-mini, ViT-B/14 with 4 registers of Bioptimus and Owkin, distilled from H-optimus-0.

    Source: huggingface.co/bioptimus/H0-mini.
    """
    return published(
        H0_MINI,
        "vit_base_patch14_reg4_dinov2",
        mlp_ratio=5.33334,
        mlp_layer="SwiGLUPacked",
        act_layer="silu",
        init_values=1e-5,
    )
