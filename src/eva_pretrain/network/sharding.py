"""Sharding by FSDP2: weights, gradients and optimiser states divided among devices."""

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard


def shard(vit: nn.Module, blocks: nn.Module, heads: nn.ModuleDict, mesh: DeviceMesh, half: bool) -> None:
    """Divide a network: each block, the rest of the ViT, and each head are gathered when they are needed.

    Args:
        vit: The ViT, which is called as a whole.
        blocks: Container of its blocks.
        heads: Projection heads by name, each called as a whole.
        mesh: The devices, in one dimension; in two: copies, and the devices of each (HSDP).
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
    """Whether a module is divided already."""
    return isinstance(module, FSDPModule)


def _reshard(module: Any, *_: Any) -> None:
    module.reshard()
