"""What ranks tell each other. Where nothing is distributed, a process is alone and nothing is sent."""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable


def world() -> int:
    """Number of ranks; 1 where nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this rank from 0."""
    return dist.get_rank() if world() > 1 else 0


def all_reduce_sum(x: Tensor) -> Tensor:
    """Sum of a tensor over all ranks, without gradient: a new tensor of the same shape."""
    x = x.detach().clone(memory_format=torch.contiguous_format)
    if world() > 1:
        dist.all_reduce(x, dist.ReduceOp.SUM)
    return x


def all_reduce_max(x: Tensor) -> Tensor:
    """Largest value of each element over all ranks, without gradient: a new tensor of the same shape."""
    x = x.detach().clone(memory_format=torch.contiguous_format)
    if world() > 1:
        dist.all_reduce(x, dist.ReduceOp.MAX)
    return x


def gather(x: Tensor) -> Tensor:
    """Rows of all ranks in the order of the ranks, with gradient.

    The gradient of a row is the sum of what all ranks' losses have for it, so losses whose mean over ranks is the loss
    of the joined batch have, averaged as DDP and FSDP do, the gradient of the joined batch.

    Args:
        x: (B, ...), as many rows on every rank.

    Returns:
        (R * B, ...); x itself where nothing is distributed.
    """
    if world() == 1:
        return x
    joined: Tensor = _Gather.apply(x)
    return joined


class _Gather(torch.autograd.Function):
    # torch.distributed.nn has one too, whose gradient takes an all-to-all that not every backend knows
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.rows = slice(rank() * len(x), (rank() + 1) * len(x))
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return all_reduce_sum(grad)[ctx.rows]
