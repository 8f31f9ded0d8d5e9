"""Cross-entropy of students with soft targets, in little memory: the logits are the largest tensors of a step.

At 131,072 prototypes, 64 images and 10 crops the student's logits take 168 MB in bf16. Autograd would keep their
float32 copy, their softmax and one product for each teacher; here the gradient is written out, and probabilities are
made from the teacher's logits where they are used. Compiled, each pass reads the logits of both once; else the float32
work is done in blocks, so beside the logits and their gradient nothing of their size is ever held.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from eva_core.accelerator import is_gpu
from eva_pretrain.compilation import compiled, rows_vary
from eva_pretrain.losses.teacher_targets import Targets, of_probabilities, probabilities

_BLOCK = {"cpu": 2**18, "gpu": 2**23}
"""Number of logits that are processed at a time: 1 MB of float32 fits the cache of a core, 32 MB keep a GPU busy."""


def soft_cross_entropy(student: Tensor, teacher: Targets | Tensor, temperature: float) -> Tensor:
    """Compute -sum_k p log softmax(s / temperature) for every student with every teacher, row by row.

    Args:
        student: Logits, (S, N, K), any float dtype.
        teacher: Targets p, (T, N, K), or probabilities as a tensor, whose rows sum to 1; no gradient.
        temperature: Temperature of the student.

    Returns:
        Losses (S, T, N) float32; calculated in float32 also under autocast.

    Examples:
        >>> student, teacher = torch.zeros(1, 1, 4), torch.full((1, 1, 4), 0.25)
        >>> soft_cross_entropy(student, teacher, temperature=0.1).item() == torch.log(torch.tensor(4.0)).item()
        True
    """
    teacher = teacher if isinstance(teacher, Targets) else of_probabilities(teacher)
    losses: Tensor = _SoftCrossEntropy.apply(student, temperature, teacher.compile, *teacher[:-1])
    return losses


class _SoftCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, temperature: float, compile: bool, *teacher: Tensor) -> Tensor:
        if compile:
            rows_vary(student, 1)
            losses: Tensor
            losses, log_sums = compiled(_losses)(student, temperature, *_varying(teacher))
        else:
            losses = student.new_empty(len(student), len(teacher[0]), student.shape[1], dtype=torch.float32)
            log_sums = student.new_empty(student.shape[:2], dtype=torch.float32)
            for s, rows in _blocks(student):
                losses[s, :, rows], log_sums[s, rows] = _losses(student[s, rows], temperature, *_rows(teacher, rows))
        ctx.save_for_backward(student, log_sums, *teacher)
        ctx.temperature, ctx.compile = temperature, compile
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        student, log_sums, *teacher = ctx.saved_tensors
        grad = grad / ctx.temperature  # (S, T, N)
        if ctx.compile:
            rows_vary(student, 1), rows_vary(grad, 2), rows_vary(log_sums, 1)
            result = compiled(_gradient)(student, grad, ctx.temperature, log_sums, *_varying(teacher))
        else:
            result = torch.empty_like(student)
            for s, rows in _blocks(student):
                block = student[s, rows], grad[s, :, rows], ctx.temperature, log_sums[s, rows]
                result[s, rows] = _gradient(*block, *_rows(teacher, rows))
        return result, *[None] * (2 + len(teacher))


def _varying(teacher: Sequence[Tensor]) -> Sequence[Tensor]:
    """Tell the compiler that the number of rows of targets varies."""
    logits, _, _, row_shift, _, row = teacher
    rows_vary(logits, 1), rows_vary(row_shift, 1), rows_vary(row, 1)
    return teacher


def _losses(student: Tensor, temperature: float, logits: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
    """Compute losses (..., T, n) and log sums (..., n) of students (..., n, K) with targets (T, n, K)."""
    x = student.float()
    top = x.amax(-1)
    x = (x - top[..., None]) * (1 / temperature)
    # elementwise: a matrix product would be rounded to TF32 where that is allowed
    products = torch.stack([(x * p).sum(-1) for p in _each(logits, *parts)], -2)
    log_sum = x.exp().sum(-1).log()
    return log_sum[..., None, :] - products, log_sum + top * (1 / temperature)


def _gradient(student: Tensor, grad: Tensor, temperature: float, log_sums: Tensor, *teacher: Tensor) -> Tensor:
    """Compute the gradient of students (..., n, K), in their dtype, from that of losses / temperature (..., T, n)."""
    x = (student.float() * (1 / temperature) - log_sums[..., None]).exp_() * grad.sum(-2)[..., None]
    for t, p in enumerate(_each(*teacher)):
        x = x.addcmul_(p, grad[..., t, :, None], value=-1)
    return x.to(student.dtype)


def _each(
    logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor, column: Tensor, row: Tensor
) -> Iterator[Tensor]:
    """Probabilities (n, K) of each teacher."""
    for t in range(len(logits)):
        yield probabilities(logits[t], scale, column_shift, row_shift[t], column, row[t])


def _rows(teacher: Sequence[Tensor], rows: slice) -> Sequence[Tensor]:
    """Some rows of targets."""
    logits, scale, column_shift, row_shift, column, row = teacher
    return logits[:, rows], scale, column_shift, row_shift[:, rows], column, row[:, rows]


def _blocks(student: Tensor) -> Iterator[tuple[int, slice]]:
    """Blocks of the logits: number of the crop, and a slice of its rows."""
    crops, n, width = student.shape
    step = max(1, _BLOCK["gpu" if is_gpu(student.device) else "cpu"] // width)
    return ((s, slice(start, start + step)) for s in range(crops) for start in range(0, n, step))
