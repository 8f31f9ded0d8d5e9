"""Floating point operations of a training step, and the peak of a device."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from eva_core.accelerator import device_name, is_gpu
from eva_pretrain.augment.views import Views
from eva_pretrain.network.crop_blocks import kept_rows

_STUDENT = 3
"""Passes of the student in a step: a backward pass counts as two forward passes."""


def step_flops(
    vit: Any,
    heads: Mapping[str, nn.Module] | nn.ModuleDict,
    views: Views,
    batch: int,
    hidden: float = 0.0,
    rates: Sequence[float] = (),
    teachers: Sequence[int] | None = None,
) -> float:
    """Count the floating point operations of one optimiser step, a multiplication and an addition being two.

    Only matrix products of student and teacher count; activations that checkpointing computes again do not. The student
    counts three times, as usual, though no gradient reaches the pixels. Branches that drop path drops by factors are
    calculated and count; with a subset only the rows that are kept are, and count.

    Args:
        vit: A timm `VisionTransformer`.
        heads: Projection heads by name: `dino` takes class tokens; `ibot`, or else `dino`, takes hidden patches.
        views: Sizes and number of the crops of an image.
        batch: Number of images of a step.
        hidden: Share of all patches of the global crops that are hidden, 0.15 in DINOv2: half of the crops times a mean
            of 0.3; without masks 0.
        rates: Rate of drop path of each block of the student where branches are calculated for a subset of the rows;
            empty where they are for all.
        teachers: Side in pixels of the two global crops that each network sees which is not trained: the teacher, and a
            Gram teacher, of which no head is used; None: the teacher alone, which sees those of the student.
    """
    crops = ((2, views.global_size), (views.local_crops, views.local_size))
    student_passes = sum(n * _pass(vit, size, [_share(n * batch, rate) for rate in rates]) for n, size in crops)
    patches = 2 * hidden * _patches(vit, views.global_size)
    cls_head, patch_head = _products(heads["dino"]), _products(heads["ibot" if "ibot" in heads else "dino"])
    student = student_passes + (2 + views.local_crops) * cls_head + patches * patch_head
    teacher_passes = sum(2 * _pass(vit, size) for size in teachers or (views.global_size,))
    teacher = teacher_passes + 2 * cls_head + patches * patch_head
    return float(batch * (_STUDENT * student + teacher))


def _patches(vit: Any, size: int) -> int:
    height, width = vit.patch_embed.patch_size
    patches: int = (size // height) * (size // width)
    return patches


def _pass(vit: Any, size: int, shares: Sequence[float] = ()) -> float:
    """Count the operations of one image in a forward pass, of which blocks calculate these shares; all if empty."""
    patches = _patches(vit, size)
    tokens = patches + vit.num_prefix_tokens
    total = float(patches * _products(vit.patch_embed))
    for block, share in zip(vit.blocks, shares or [1.0] * len(vit.blocks), strict=True):
        attention = 2 * 2 * tokens**2 * block.attn.num_heads * block.attn.head_dim
        total += share * (tokens * _products(block) + attention)
    return total


def _share(rows: int, rate: float) -> float:
    return kept_rows(rows, rate) / rows if rows else 1.0


def _products(module: nn.Module) -> float:
    """Count the operations of a token through every matrix of a module once."""
    return 2 * sum(p.numel() for p in module.parameters() if p.ndim > 1 and p.shape[1] > 1)


_PEAKS: tuple[tuple[str, float | None, float, float | None, float], ...] = (
    (r"B200", 2250, 2250, 1125, 75),
    (r"H(100|200) NVL", 835.5, 835.5, 417.5, 60),
    (r"H100 PCIe", 756, 756, 378, 51),
    (r"(GH200|H200|H100)", 989, 989, 494.5, 67),
    (r"A100", 312, 312, 156, 19.5),
    (r"L40S", 362, 362, 183, 91.6),
    (r"L40", 181, 181, 90.5, 90.5),
    (r"L4", 121, 121, 60, 30.3),
    (r"A40", 149.7, 149.7, 74.8, 37.4),
    (r"A10", 125, 125, 62.5, 31.2),
    (r"RTX 6000 Ada Generation$", 364, 364, 182, 91.1),
    (r"RTX A6000$", 154.8, 154.8, 77.4, 38.7),
    (r"RTX 5090$", 209.5, 209.5, 104.8, 104.8),
    (r"RTX 4090$", 165.2, 165.2, 82.6, 82.6),
    (r"RTX 3090$", 71, 71, 35.6, 35.6),
    (r"V100-PCIE", None, 112, None, 14),
    (r"V100", None, 125, None, 15.7),
    (r"T4", None, 65, None, 8.1),
)
"""Dense peaks in TFLOP/s by name of the device, the first that fits: bf16, fp16, TF32, fp32; None: not supported.

Tensor cores with sums in float32, as torch uses them; figures of vendors that count sparsity are halved.
Source: NVIDIA's data sheets of these products; for GeForce and RTX cards the white papers of GA102, Ada and Blackwell.
"""


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Look up the floating point operations per second of a device at most; None where unknown, as for a CPU.

    Args:
        device: Any device; a part of a GPU (MIG) counts as unknown.
        precision: As Lightning names it, such as `bf16-mixed`, `16-mixed` or `32-true`. For 32 bits it is TF32's where
            `torch.get_float32_matmul_precision()` allows it.
    """
    if not is_gpu(device):
        return None
    name = device_name(device)
    peaks = next((row for row in _PEAKS if re.search(rf"\b{row[0]}(?![A-Za-z0-9])", name)), None)
    if peaks is None or "MIG" in name:
        return None
    _, bf16, fp16, tf32, fp32 = peaks
    if "16" in precision:
        peak = bf16 if "bf16" in precision else fp16
    else:
        peak = fp32 if torch.get_float32_matmul_precision() == "highest" else tf32 or fp32
    return None if peak is None else peak * 1e12
