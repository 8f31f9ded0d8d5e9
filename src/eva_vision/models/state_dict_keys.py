"""Names of weights as other libraries publish them -> names in timm's vision transformers."""

import re

import torch
import torch.nn.functional as F

from eva_vision.models.checkpoint_states import State

TRANSFORMERS = (
    (r"^(vit|dinov2|dinov2_with_registers)\.", ""),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.(intermediate\.dense|mlp\.weights_in)\.", ".mlp.fc1."),
    (r"\.(output\.dense|mlp\.weights_out)\.", ".mlp.fc2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
)
DINOV2 = (
    (r"^register_tokens$", "reg_token"),
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # blocks in chunks, numbered through
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
DINOV3 = (
    (r"^storage_tokens$", "reg_token"),
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
BEIT3 = (
    (r"^vision_embed\.cls_token$", "cls_token"),
    (r"^vision_embed\.proj\.", "patch_embed.proj."),
    (r"^encoder\.(embed_positions\.A\.weight)$", "pos_embed"),
    (r"^encoder\.layer_norm\.", "norm."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.A\.", "."),
    (r"\.self_attn_layer_norm\.", ".norm1."),
    (r"\.final_layer_norm\.", ".norm2."),
    (r"\.self_attn\.inner_attn_ln\.", ".attn.norm."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
    (r"\.ffn\.ffn_layernorm\.", ".mlp.norm."),
    (r"\.ffn\.", ".mlp."),
)
CONCH = (
    (r"^trunk\.", ""),
    (r"^ln_contrast\.", "token_head.norm."),
    (r"^attn_pool_contrast\.(attn\.)?", "token_head."),
    (r"\.ln_q\.", ".norm_query."),
    (r"\.ln_k\.", ".norm_tokens."),
    (r"\.([qkv])_proj_weight$", r".\1.weight"),
    (r"\.to_(q|kv|out)\.", r".\1."),
    (r"\.out_proj\.", ".out."),
)
KEEP = (
    (r"\.ls([12])\.weight$", r".ls\1.gamma"),
    (r"^visual_head\.", "token_head."),
    (r"^visual\.", ""),
)


def from_transformers(state: State) -> State:
    """Convert `ViTModel`, `Dinov2Model` and `Dinov2WithRegistersModel` of transformers, and Hibou's variant of it.

    Position embeddings leave on the grid of a 224 px image, resampled as transformers does for such an image.

    Source: transformers.models.{vit,dinov2,dinov2_with_registers}.modeling_* (4.49).
    """
    state = _renamed(state, TRANSFORMERS)
    state = _joined(state, (".attn.query.", ".attn.key.", ".attn.value."), ".attn.qkv.")
    if "pos_embed" in state and "patch_embed.proj.weight" in state:
        state["pos_embed"] = _on_grid(state["pos_embed"], 224 // state["patch_embed.proj.weight"].shape[-1])
    return _folded(state)


def from_dinov2(state: State) -> State:
    """Convert `DinoVisionTransformer` of facebookresearch/dinov2: a backbone, or a teacher with its heads.

    Source: facebookresearch/dinov2, dinov2/models/vision_transformer.py and dinov2/layers.
    """
    backbone = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    return _folded(_renamed(backbone or state, DINOV2))


def from_dinov3(state: State) -> State:
    """Convert `DinoVisionTransformer` of facebookresearch/dinov3 with SwiGLU.

    The periods of its rotary positions stay behind: they follow from the architecture.

    Source: the copy in genbio-ai/genbio-pathfm, genbio_pathfm/model.py.
    """
    return _renamed({name: tensor for name, tensor in state.items() if name != "rope_embed.periods"}, DINOV3)


def from_beit3(state: State) -> State:
    """Convert the vision half of a BEiT-3 below `beit3.`; what is for text, and the two heads of MUSK, stay behind.

    Source: lilab-stanford/MUSK @ 714b666, musk/modeling.py and musk/torchscale.
    """
    vision = {
        name.removeprefix("beit3."): tensor
        for name, tensor in state.items()
        if name.startswith(("beit3.encoder.", "beit3.vision_embed.")) and ".B." not in name
    }
    vision.pop("vision_embed.mask_token", None)
    state = _joined(_renamed(vision, BEIT3), (".attn.q.", ".attn.k.", ".attn.v."), ".attn.qkv.")
    if "pos_embed" in state:
        state["pos_embed"] = state["pos_embed"][None, 2:]  # positions are counted from 2
    return state


def from_conch(state: State) -> State:
    """Convert the image half of CONCH; what is for text, captions and retrieval stays behind.

    Source: mahmoodlab/CONCH @ 141cc09, conch/open_clip_custom/vision_tower.py and transformer.py.
    """
    image = {name.removeprefix("visual."): tensor for name, tensor in state.items() if name.startswith("visual.")}
    for_other_uses = ("attn_pool_caption.", "ln_caption.", "proj_contrast")
    state = _renamed({name: tensor for name, tensor in image.items() if not name.startswith(for_other_uses)}, CONCH)
    return _parted(state, "token_head.in_proj_bias", ("token_head.q.bias", "token_head.k.bias", "token_head.v.bias"))


def from_conch_v1_5(state: State) -> State:
    """Convert CONCH v1.5, whose positions are those of a 224 px image, resampled as its code does for 448 px.

    Source: conch_v1_5.py of huggingface.co/MahmoodLab/TITAN, as mahmoodlab/TRIDENT has it (model_zoo/conchv1_5).
    """
    state = _parted(_renamed(state, CONCH), "token_head.kv.weight", ("token_head.k.weight", "token_head.v.weight"))
    if "pos_embed" in state:
        state["pos_embed"] = _on_grid(state["pos_embed"], 28, offset=0.1)
    return state


def from_keep(state: State) -> State:
    """Convert the image half of KEEP, whose layer scales are called weights.

    Source: CraigMyles/raw2features @ 079f877, embedders/keep_embedder.py, after huggingface.co/Astaxanthin/KEEP.
    """
    return _renamed({name: t for name, t in state.items() if name.startswith(("visual.", "visual_head."))}, KEEP)


CONVERSIONS = {
    "transformers": from_transformers,
    "dinov2": from_dinov2,
    "dinov3": from_dinov3,
    "beit3": from_beit3,
    "conch": from_conch,
    "conch_v1_5": from_conch_v1_5,
    "keep": from_keep,
}
"""Functions that bring the names of a library or a model into those of ours."""


def _renamed(state: State, names: tuple[tuple[str, str], ...]) -> State:
    """Rename weights; what serves training (mask token) or another use (pooler) stays behind."""
    renamed = {}
    for key, tensor in state.items():
        for old, new in names:
            key = re.sub(old, new, key)
        if key != "mask_token" and not key.startswith("pooler."):
            renamed[key] = tensor
    return renamed


def _joined(state: State, parts: tuple[str, ...], joined: str) -> State:
    """Join weights that a library keeps apart; what lacks a part is left, to be named as unexpected."""
    state = dict(state)
    for name in [name for name in state if parts[0] in name]:
        names = [name.replace(parts[0], part) for part in parts]
        if all(part in state for part in names):
            state[name.replace(parts[0], joined)] = torch.cat([state.pop(part) for part in names])
    return state


def _parted(state: State, joined: str, parts: tuple[str, ...]) -> State:
    """Take a weight that a library keeps as one apart, into equal parts along its first axis."""
    if joined not in state or len(state[joined]) % len(parts):
        return state
    state = dict(state)
    return state | dict(zip(parts, state.pop(joined).chunk(len(parts)), strict=True))


def _folded(state: State) -> State:
    """Add the position of the class token to the token: timm's networks with registers have none for it."""
    if {"reg_token", "cls_token", "pos_embed"} <= state.keys():
        state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]  # (1, 1, D)
        state["pos_embed"] = state["pos_embed"][:, 1:]  # (1, h * w, D)
    return state


def _on_grid(positions: torch.Tensor, side: int, offset: float = 0.0) -> torch.Tensor:
    """Resample the positions of a square grid, behind the class: (1, 1 + n * n, D) -> (1, 1 + side * side, D).

    Args:
        positions: Position embeddings, that of the class first, (1, 1 + n * n, D).
        side: Cells along a side of the new grid.
        offset: What the scale is computed with beside `side`, as DINO does.
    """
    n = round((positions.shape[1] - 1) ** 0.5)
    if n == side or n * n != positions.shape[1] - 1:
        return positions
    grid = positions[:, 1:].reshape(len(positions), n, n, -1).permute(0, 3, 1, 2).float()  # (1, D, n, n)
    scale = (side + offset) / n if offset else None
    size = None if offset else (side, side)
    grid = F.interpolate(grid, size, scale, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)
