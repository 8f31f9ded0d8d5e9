"""Weights of one ViT for another: of another size, with or without registers, with or without a class position."""

import math
from typing import Any

import torch
from timm.models import eva, vision_transformer
from torch import Tensor

State = dict[str, Tensor]


def fitted(state: State, network: vision_transformer.VisionTransformer | eva.Eva) -> State:
    """Give a state the shapes of a network; where both have as many registers and patches, it computes the same.

    Position and patch embedding are resized. Registers of the state are kept, as many as the network has; the network's
    own stay where the state has fewer.

    Args:
        state: Weights under timm's names.
        network: The network that shall take them.
    """
    convert: Any = eva.checkpoint_filter_fn if isinstance(network, eva.Eva) else vision_transformer.checkpoint_filter_fn
    fitting: State = convert(_with_special_tokens(state, network), network, interpolation="bicubic", antialias=True)
    return fitting


def registers_of(state: State) -> int:
    """Count the registers of a state."""
    return state["reg_token"].shape[1] if "reg_token" in state else 0


def _with_special_tokens(state: State, network: vision_transformer.VisionTransformer | eva.Eva) -> State:
    """Bring class token, registers and their positions to the layout of a network."""
    cls, positions = state.get("cls_token"), state.get("pos_embed")
    have, wanted = registers_of(state), network.num_prefix_tokens - 1
    if cls is None:
        return state
    inside = 0 if network.pos_embed is None or network.no_embed_class else 1 + wanted
    before = 0 if positions is None else _prefix(positions.shape[1], 1 + have, network.patch_embed.num_patches)
    if have == wanted and before == inside:
        return state
    state = dict(state)
    special = torch.cat([cls, *([state["reg_token"]] if have else [])], dim=1)  # (1, 1 + have, D)
    if positions is not None:
        # a position that is added to every image alike is a part of its token
        special = special + torch.nn.functional.pad(positions[:, :before], (0, 0, 0, 1 + have - before))
        nothing = positions.new_zeros(1, inside, positions.shape[2])
        state["pos_embed"] = torch.cat([nothing, positions[:, before:]], dim=1)
    state["cls_token"] = special[:, :1]
    state.pop("reg_token", None)
    own = network.reg_token
    if have and own is not None and own.shape[2] == special.shape[2]:
        state["reg_token"] = torch.cat([special[:, 1 : 1 + wanted], own.detach()[:, have:]], dim=1)
    return state


def _prefix(count: int, special: int, patches: int) -> int:
    """Count the special tokens among positions: those of patches are as many as the network's, or a square."""
    if count - patches in (0, special):
        return count - patches
    return special if math.isqrt(max(count - special, 0)) ** 2 == count - special else 0
