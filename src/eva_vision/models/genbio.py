"""The model of GenBio AI: GenBio-PathFM."""

from typing import TYPE_CHECKING

from eva_core.contracts.cards import ModelCard, card
from eva_vision.models.published import published

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

GENBIO_PATHFM = ModelCard(
    name="genbio_pathfm",
    dim=4608,
    mean=(0.697, 0.575, 0.728),
    std=(0.188, 0.24, 0.187),
    patch_size=16,
    prefix_tokens=5,
    licence="GenBio AI Community License",
    source="https://huggingface.co/genbio-ai/genbio-pathfm",
    file="model.pth",
    trained_on="public slides only, JEPA and DINO (Kapse et al. 2026, doi:10.64898/2026.03.17.712534)",
)


@card(GENBIO_PATHFM)
def genbio_pathfm() -> "Backbone":
    """GenBio-PathFM, a ViT-g/16 with rotary positions and 4 registers that sees red, green and blue one by one.

    Its code turns queries and keys in bfloat16, ours in float32.

    Source: github.com/genbio-ai/genbio-pathfm.
    """
    from eva_vision.models.channelwise import ChannelwiseBackbone

    return published(
        GENBIO_PATHFM,
        "vit_large_patch16_rope_224",  # whose norms have the epsilon of GenBio's; DINOv3's in timm have another
        names="dinov3",
        kind=ChannelwiseBackbone,
        in_chans=1,
        embed_dim=1536,
        depth=40,
        num_heads=24,
        num_reg_tokens=4,
        attn_type="eva",
        qkv_bias=False,
        swiglu_mlp=True,
        mlp_ratio=8 / 3,
        swiglu_align_to=64,
        rope_type="dinov3",
        rope_rotate_half=True,
        rope_grid_indexing="ij",
    )
