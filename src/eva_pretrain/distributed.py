"""Communication between ranks. Where nothing is distributed, a process is rank 0 of 1 and sends nothing."""

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
    """Sum a tensor over all ranks, without gradient, into a new tensor of the same shape."""
    x = x.detach().clone(memory_format=torch.contiguous_format)
    if world() > 1:
        dist.all_reduce(x, dist.ReduceOp.SUM)
    return x


def all_reduce_max(x: Tensor) -> Tensor:
    """Take the largest value of each element over all ranks, without gradient, into a new tensor of the same shape."""
    x = x.detach().clone(memory_format=torch.contiguous_format)
    if world() > 1:
        dist.all_reduce(x, dist.ReduceOp.MAX)
    return x


def gather(x: Tensor) -> Tensor:
    """Gather the rows of all ranks, in the order of the ranks, with gradient.

    The gradient of a row is the sum over the losses of all ranks. So, if the mean over ranks of a loss is the loss of
    the joined batch, the gradients that DDP and FSDP average are those of the joined batch.

    Args:
        x: Rows of this rank, (B, ...), as many on every rank.

    Returns:
        Rows of all ranks, (R * B, ...); x itself where nothing is distributed.
    """
    if world() == 1:
        return x
    joined: Tensor = _Gather.apply(x)
    return joined


class _Gather(torch.autograd.Function):
    # torch.distributed.nn has one too, but its gradient takes an all-to-all, which not every backend has
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
