"""Weights, gradients and optimiser states divided among devices: FSDP2."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard


def shard(vit: nn.Module, blocks: nn.Module, heads: nn.ModuleDict, mesh: DeviceMesh, half: bool) -> None:
    """Divide a network: each block, the rest of the ViT, and each head are gathered when they are needed.

    Args:
        vit: Called as a whole.
        blocks: What it holds of blocks.
        heads: Each called as a whole.
        mesh: The devices, of one dimension.
        half: Gather the ViT in bf16, where autocast multiplies in bf16 anyway; gradients are summed in float32. Heads
            stay in float32, as the lengths of prototypes are calculated from their weights.
    """
    # inputs are not cast: the sums between the blocks are float32 under autocast, and stay so
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        if half
        else MixedPrecisionPolicy()
    )
    for block in blocks.children():
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(vit, mesh=mesh, mp_policy=policy)
    for head in heads.values():
        fully_shard(head, mesh=mesh)
    for called in (vit, *heads.values()):  # torch keeps the outermost gathered, and a teacher has no backward pass
        called.register_forward_hook(_reshard)


def sharded(module: nn.Module) -> bool:
    """Whether it is divided already."""
    return isinstance(module, FSDPModule)


def _reshard(module: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    module.reshard()
