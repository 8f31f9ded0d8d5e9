"""Parameter groups, clipping, and the step of the teacher, sharded (FSDP2) or not, without waiting for the GPU."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.tensor import DTensor, Shard
from torch.optim import Optimizer

from eva_core.errors import EvaError

_EMBEDDINGS = {"cls_token", "reg_token", "mask_token", "pos_embed", "patch_embed", "norm_pre", "rope"}
"""Parts of a timm ViT before its first block."""
_BIASES = {"bias", "q_bias", "v_bias"}
"""Names of biases in a timm ViT; those with rotary positions may have no bias of keys."""


def parameter_groups(
    vit: nn.Module,
    heads: nn.Module,
    layer_decay: float = 1.0,
    patch_embed: float = 1.0,
    decay_rule: Literal["dinov2", "dino"] = "dinov2",
) -> list[dict[str, Any]]:
    """Group the parameters for AdamW by the scales of their learning rate and weight decay.

    Args:
        vit: Module that holds a timm ViT, under any prefix, and may hold a mask token.
        heads: Projection heads, with scale 1; their `last_layer` has a learning rate of its own.
        layer_decay: Learning rates are scaled by layer_decay ** (depth + 1 - i), where i is 0 for embeddings, b + 1 for
            block b, depth + 1 for the rest.
        patch_embed: Further scale of the learning rate of the patch embedding; 0.2 in DINOv2.
        decay_rule: Parameters without weight decay. `dinov2`: biases, norms and layer scale (tokens do decay); `dino`:
            biases and all parameters of one dimension.

    Returns:
        Dicts with `params`, `lr_scale`, `wd_scale` (0 or 1), `last_layer` and a unique `name`.
    Source: Clark et al. 2020 (ELECTRA) and Bao et al. 2022 (BEiT) for layer decay; facebookresearch/dinov2 @ b8931f7,
    utils/param_groups.py; facebookresearch/dino @ 7c446df5, utils.py.
    """
    backbone = [(name.split("."), parameter) for name, parameter in vit.named_parameters()]
    depth = 1 + max((block for parts, _ in backbone if (block := _block(parts)) is not None), default=-1)
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for parts, parameter in backbone:
        block = _block(parts)
        layer = block + 1 if block is not None else 0 if _EMBEDDINGS & {*parts} else depth + 1
        lr = layer_decay ** (depth + 1 - layer) * (patch_embed if "patch_embed" in parts else 1.0)
        groups.setdefault((lr, _decay(parts, parameter, decay_rule), False), []).append(parameter)
    for name, parameter in heads.named_parameters():
        parts = name.split(".")
        groups.setdefault((1.0, _decay(parts, parameter, decay_rule), "last_layer" in parts), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr_scale": lr,
            "wd_scale": wd,
            "last_layer": last,
            "name": f"lr_{lr:g}_wd_{wd:g}" + "_last_layer" * last,
        }
        for (lr, wd, last), parameters in groups.items()
    ]


def _block(parts: list[str]) -> int | None:
    """Number of the block that a parameter belongs to; None outside of the blocks."""
    return int(parts[parts.index("blocks") + 1]) if "blocks" in parts else None


def _decay(parts: list[str], parameter: nn.Parameter, rule: str) -> float:
    bias = parts[-1] in _BIASES or "rope" in parts
    if rule == "dino":
        exempt = bias or parameter.ndim == 1
    else:
        exempt = bias or any("norm" in part or "gamma" in part for part in parts)
    return 0.0 if exempt else 1.0


def set_hyperparameters(optimizer: Optimizer, lr: float, weight_decay: float, last_layer_lr: float) -> None:
    """Set the values of a step in the groups of `parameter_groups`, times their scales."""
    for group in optimizer.param_groups:
        group["lr"] = (last_layer_lr if group["last_layer"] else lr) * group["lr_scale"]
        group["weight_decay"] = weight_decay * group["wd_scale"]


@torch.no_grad()
def make_states(optimizer: Optimizer) -> None:
    """Create the optimiser states of all parameters, as they are before a first step.

    FSDP2 loads no checkpoint that lacks the state of a parameter which has had no gradient yet, as while heads train
    alone. The learning rates are 0 afterwards: `set_hyperparameters` sets them.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    set_hyperparameters(optimizer, lr=0.0, weight_decay=0.0, last_layer_lr=0.0)
    optimizer.step()
    optimizer.zero_grad()
    for parameter in parameters:
        optimizer.state[parameter]["step"].zero_()


@torch.no_grad()
def clip(parameters_by_module: Iterable[Iterable[nn.Parameter]], most: float, eps: float = 1e-6) -> Tensor:
    """Scale the gradients of each set of parameters in place, such that the norm of the set is at most `most`.

    Args:
        parameters_by_module: Sets of parameters: one for each tensor in DINO, one for each submodule (backbone, each
            head) in DINOv2. Parameters without a gradient are passed over. Sharded ones must share a mesh.
        most: Largest norm that a set keeps.
        eps: Small number that is added to the norm.

    Returns:
        Largest norm of a set before clipping, a scalar; not finite if a gradient is not, which is then useless.
    Source: Pascanu et al. 2013, algorithm 1.

    Examples:
        >>> weight = nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip([[weight]], most=1.0).item(), round(weight.grad.norm().item(), 3)
        (5.0, 1.0)
    """
    modules = [[*parameters] for parameters in parameters_by_module]
    sets = [[p.grad for p in parameters if p.grad is not None] for parameters in modules]
    sets = [grads for grads in sets if grads]
    if not sets:
        return torch.zeros((), device=next((p.device for parameters in modules for p in parameters), None))
    flat = [grad for grads in sets for grad in grads]
    local = [_local(grad) for grad in flat]
    # torch has the norms of many tensors in one kernel without a public name
    norms = torch.stack(_over_shards(flat, list(torch._foreach_norm(local))))  # noqa: SLF001
    by_set = torch.stack(torch._foreach_norm(torch.split(norms, [len(grads) for grads in sets])))  # noqa: SLF001
    scales = (most / (by_set + eps)).clamp_(max=1.0)
    start = 0
    for grads, scale in zip(sets, scales, strict=True):
        torch._foreach_mul_(local[start : start + len(grads)], scale)
        start += len(grads)
    return by_set.max()


def _over_shards(grads: list[Tensor], norms: list[Tensor]) -> list[Tensor]:
    """Compute the norms of whole gradients from those of this rank's shards, in one message between ranks."""
    sharded = {i: grad for i, grad in enumerate(grads) if isinstance(grad, DTensor)}
    if not sharded:
        return norms
    one = next(iter(sharded.values()))
    squares = torch.stack([norms[i] for i in sharded]).square()
    for dim, placement in enumerate(one.placements):
        if isinstance(placement, Shard):
            dist.all_reduce(squares, group=one.device_mesh.get_group(dim))
    whole = dict(zip(sharded, squares.sqrt(), strict=True))
    return [whole.get(i, norm) for i, norm in enumerate(norms)]


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters towards the student's of the same name: t = momentum t + (1 - momentum) s.

    Args:
        teacher: Teacher in float32, changed in place. May lack some of the student's parameters. Sharded as the
            student, if at all.
        student: The student.
        momentum: Share of the teacher that is kept, 0 to 1.

    Raises:
        EvaError: The teacher is not float32: steps of (1 - momentum) would be rounded away.
    Source: Tarvainen and Valpola 2017 (mean teacher); Caron et al. 2021 (DINO).
    """
    named = dict(student.named_parameters())
    old, new = [], []
    for name, parameter in teacher.named_parameters():
        if parameter.dtype != torch.float32:
            raise EvaError(
                f"Expected the teacher in float32, but {name} is {parameter.dtype}: it would never move. "
                "Train with bf16-mixed, not bf16-true."
            )
        old.append(_local(parameter))
        new.append(_local(named[name]))
    torch._foreach_lerp_(old, new, 1 - momentum)


def _local(x: Tensor) -> Tensor:
    """Part of a tensor that this rank holds, in the same memory."""
    return x.to_local() if isinstance(x, DTensor) else x
