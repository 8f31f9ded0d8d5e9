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


def from_transformers(state: State) -> State:
    """Convert `ViTModel`, `Dinov2Model` and `Dinov2WithRegistersModel` of transformers, and Hibou's variant of it.

    Position embeddings leave on the grid of a 224 px image, resampled as transformers does for such an image.

    Source: transformers.models.{vit,dinov2,dinov2_with_registers}.modeling_* (4.49).
    """
    state = _renamed(state, TRANSFORMERS)
    for name in [name for name in state if name.endswith((".attn.query.weight", ".attn.query.bias"))]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in state for part in parts):  # else the part that is there is named as unexpected
            state[name.replace(".query.", ".qkv.")] = torch.cat([state.pop(part) for part in parts])
    if "pos_embed" in state and "patch_embed.proj.weight" in state:
        state["pos_embed"] = _on_grid(state["pos_embed"], 224 // state["patch_embed.proj.weight"].shape[-1])
    return _folded(state)


def from_dinov2(state: State) -> State:
    """Convert `DinoVisionTransformer` of facebookresearch/dinov2: a backbone, or a teacher with its heads.

    Source: facebookresearch/dinov2, dinov2/models/vision_transformer.py and dinov2/layers.
    """
    backbone = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    return _folded(_renamed(backbone or state, DINOV2))


CONVERSIONS = {"transformers": from_transformers, "dinov2": from_dinov2}
"""Functions that bring the names of a library into timm's."""


def _renamed(state: State, names: tuple[tuple[str, str], ...]) -> State:
    """Rename weights; what serves training (mask token) or another use (pooler) stays behind."""
    renamed = {}
    for key, tensor in state.items():
        for old, new in names:
            key = re.sub(old, new, key)
        if key != "mask_token" and not key.startswith("pooler."):
            renamed[key] = tensor
    return renamed


def _folded(state: State) -> State:
    """Add the position of the class token to the token: timm's networks with registers have none for it."""
    if {"reg_token", "cls_token", "pos_embed"} <= state.keys():
        state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]  # (1, 1, D)
        state["pos_embed"] = state["pos_embed"][:, 1:]  # (1, h * w, D)
    return state


def _on_grid(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Resample the positions of a square grid, behind the class: (1, 1 + n * n, D) -> (1, 1 + side * side, D)."""
    n = round((positions.shape[1] - 1) ** 0.5)
    if n == side or n * n != positions.shape[1] - 1:
        return positions
    grid = positions[:, 1:].reshape(len(positions), n, n, -1).permute(0, 3, 1, 2).float()  # (1, D, n, n)
    grid = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)
