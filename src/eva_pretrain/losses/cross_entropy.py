"""Cross-entropy of students with soft targets, in little memory: the logits are the largest tensors of a step.

At 131,072 prototypes, 64 images and 10 crops the student's logits take 168 MB in bf16. Autograd would keep their
float32 copy, their softmax and one product for each teacher; here the gradient is written out, and the float32 work is
done in blocks, so beside the logits and their gradient nothing of their size is ever held; with `Targets`, which are
not stored, it is done by compiled functions. Measured on a CPU with 10 crops of 4 images, 65,536 prototypes and 2
teachers, logits in bf16: 5 MB of gradient and 2 MB of blocks, where autograd takes 40 MB.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from eva_pretrain.losses.targets import Targets, gradient, losses

_BLOCK = 2**23
"""Number of logits that are processed at a time: 32 MB of float32, enough to keep a GPU busy."""


def soft_cross_entropy(student: Tensor, teacher: Tensor | Targets, temperature: float) -> Tensor:
    """Compute -sum_k p log softmax(s / temperature) for every student with every teacher, row by row.

    Args:
        student: Logits, (S, N, K), any float dtype.
        teacher: Probabilities p, (T, N, K), or `Targets` of this shape; no gradient.
        temperature: Temperature of the student.

    Returns:
        Losses (S, T, N) float32; calculated in float32 also under autocast.

    Examples:
        >>> student, teacher = torch.zeros(1, 1, 4), torch.full((1, 1, 4), 0.25)
        >>> soft_cross_entropy(student, teacher, temperature=0.1).item() == torch.log(torch.tensor(4.0)).item()
        True
    """
    if isinstance(teacher, Tensor):
        values: Tensor = _SoftCrossEntropy.apply(student, teacher, temperature)
    else:
        values = _Compiled.apply(student, temperature, *teacher)
    return values


class _SoftCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        mass = teacher.sum(-1, dtype=torch.float32)  # (T, N), about 1
        values = mass.new_empty(len(student), *mass.shape)
        log_sums = mass.new_empty(student.shape[:2])
        for s, rows in _blocks(student):
            x = student[s, rows].to(torch.float32, copy=True).div_(temperature)  # (n, K)
            top = x.amax(-1)
            x -= top[:, None]
            # elementwise: a matrix product would be rounded to TF32 where that is allowed
            products = torch.stack([(x * target[rows]).sum(-1) for target in teacher])  # (T, n)
            log_sum = x.exp_().sum(-1).log_()
            values[s, :, rows] = mass[:, rows] * log_sum - products
            log_sums[s, rows] = log_sum + top
        ctx.save_for_backward(student, teacher, mass, log_sums)
        ctx.temperature = temperature
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        student, teacher, mass, log_sums = ctx.saved_tensors
        grad = grad / ctx.temperature  # (S, T, N)
        result = torch.empty_like(student)
        for s, rows in _blocks(student):
            x = student[s, rows].to(torch.float32, copy=True).div_(ctx.temperature)
            x.sub_(log_sums[s, rows, None]).exp_().mul_((grad[s, :, rows] * mass[:, rows]).sum(0)[:, None])
            for t, target in enumerate(teacher):
                x.addcmul_(target[rows], grad[s, t, rows, None], value=-1)
            result[s, rows] = x
        return result, None, None


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, temperature: float, *teacher: Tensor) -> Tensor:
        values, log_sums = losses(student, temperature, Targets(*teacher))
        ctx.save_for_backward(student, log_sums, *teacher)
        ctx.temperature = temperature
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        student, log_sums, *teacher = ctx.saved_tensors
        result = gradient(student, grad / ctx.temperature, ctx.temperature, log_sums, Targets(*teacher))
        return result, *[None] * (1 + len(teacher))


def _blocks(student: Tensor) -> Iterator[tuple[int, slice]]:
    """Blocks of the logits: number of the crop, and a slice of its rows."""
    crops, n, width = student.shape
    step = max(1, _BLOCK // width)
    return ((s, slice(start, start + step)) for s in range(crops) for start in range(0, n, step))
