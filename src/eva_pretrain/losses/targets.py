"""Targets that are never stored: at 131,072 prototypes the probabilities of a step are gigabytes in float32.

A GPU that makes them anew from the teacher's logits, in compiled functions, where they are needed, waits less for its
memory than one that reads them: the functions here read logits in the precision of the network, and write sums.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eva_pretrain.compilation import compiled, rows_vary


class Targets(NamedTuple):
    """Probabilities exp(scale * logits - column_shift - row_shift + column + row), whose rows sum to 1.

    Attributes:
        logits: Outputs of the teacher, (..., N, K), any float dtype.
        scale: One over the temperature, a scalar float32.
        column_shift: Subtracted from each column, before all else, (K,) float32.
        row_shift: Subtracted from each row, next, (..., N) float32.
        column: Added to each column, (K,) float32.
        row: Added to each row, (..., N) float32.
    """

    logits: Tensor
    scale: Tensor
    column_shift: Tensor
    row_shift: Tensor
    column: Tensor
    row: Tensor

    def unflatten(self, dim: int, sizes: tuple[int, ...]) -> "Targets":
        """Divide dimension 0, the rows, as `Tensor.unflatten` does."""
        logits, _, _, row_shift, _, row = self
        return self._replace(
            logits=logits.unflatten(dim, sizes),
            row_shift=row_shift.unflatten(dim, sizes),
            row=row.unflatten(dim, sizes),
        )


def probabilities_of(targets: Tensor | Targets) -> Tensor:
    """Compute all probabilities, (..., N, K) float32; those of a tensor are itself."""
    return targets if isinstance(targets, Tensor) else probabilities(*targets)


def probabilities(
    logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor, column: Tensor, row: Tensor
) -> Tensor:
    """Compute probabilities (..., N, K) float32 from the parts of `Targets`."""
    return (_shifted(logits, scale, column_shift, row_shift) + column + row[..., None]).exp()


def scale_of(logits: Tensor, temperature: float) -> Tensor:
    """One over the temperature, as a tensor: a number would be a part of the graph, and it changes at every step."""
    return torch.full((), 1 / temperature, device=logits.device)


def column_top(logits: Tensor, scale: Tensor) -> Tensor:
    """Largest value of each column of scale * logits, (N, K) -> (K,) float32."""
    return _call(_column_top, [logits], [scale])


def row_top(logits: Tensor, scale: Tensor, column_shift: Tensor) -> Tensor:
    """Largest value of each row of scale * logits - column_shift, (N, K) -> (N,) float32."""
    return _call(_row_top, [logits], [scale, column_shift])


def column_sum(logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor, row: Tensor) -> Tensor:
    """Sum each column of exp(scale * logits - column_shift - row_shift), weighted by row (N,), -> (K,) float32."""
    return _call(_column_sum, [logits, row_shift, row], [scale, column_shift])


def row_sum(logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor, column: Tensor) -> Tensor:
    """Sum each row of exp(scale * logits - column_shift - row_shift), weighted by column (K,), -> (N,) float32."""
    return _call(_row_sum, [logits, row_shift], [scale, column_shift, column])


def _call(function: Any, with_rows: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    result: Tensor = compiled(function)(*(rows_vary(x, 0) for x in with_rows), *others)
    return result


def _shifted(logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor) -> Tensor:
    return logits.float() * scale - column_shift - row_shift[..., None]


def _column_top(logits: Tensor, scale: Tensor) -> Tensor:
    return logits.amax(0).float() * scale


def _row_top(logits: Tensor, scale: Tensor, column_shift: Tensor) -> Tensor:
    return (logits.float() * scale - column_shift).amax(1)


def _column_sum(logits: Tensor, row_shift: Tensor, row: Tensor, scale: Tensor, column_shift: Tensor) -> Tensor:
    return (_shifted(logits, scale, column_shift, row_shift).exp() * row[:, None]).sum(0)


def _row_sum(logits: Tensor, row_shift: Tensor, scale: Tensor, column_shift: Tensor, column: Tensor) -> Tensor:
    return (_shifted(logits, scale, column_shift, row_shift).exp() * column).sum(1)


def losses(student: Tensor, temperature: float, targets: Targets) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of students (S, N, K) with targets (T, N, K): each pass reads the logits of both once.

    Returns:
        Losses (S, T, N), and the log sum of exp(student / temperature), (S, N); float32.
    """
    pair: tuple[Tensor, Tensor] = compiled(_losses)(rows_vary(student, 1), temperature, *_rows_vary(targets))
    return pair


def gradient(student: Tensor, grad: Tensor, temperature: float, log_sums: Tensor, targets: Targets) -> Tensor:
    """Compute the gradient of students (S, N, K), in their dtype, from that of losses / temperature, (S, T, N)."""
    with_rows = rows_vary(student, 1), rows_vary(grad, 2), rows_vary(log_sums, 1)
    result: Tensor = compiled(_gradient)(*with_rows, temperature, *_rows_vary(targets))
    return result


def _rows_vary(targets: Targets) -> Targets:
    for x in (targets.logits, targets.row_shift, targets.row):
        rows_vary(x, 1)
    return targets


def _losses(student: Tensor, temperature: float, *targets: Tensor) -> tuple[Tensor, Tensor]:
    x = student.float()
    top = x.amax(-1)
    x = (x - top[..., None]) * (1 / temperature)
    # elementwise: a matrix product would be rounded to TF32 where that is allowed
    products = torch.stack([(x * p).sum(-1) for p in _each(*targets)], -2)
    log_sum = x.exp().sum(-1).log()
    return log_sum[..., None, :] - products, log_sum + top * (1 / temperature)


def _gradient(student: Tensor, grad: Tensor, log_sums: Tensor, temperature: float, *targets: Tensor) -> Tensor:
    x = (student.float() * (1 / temperature) - log_sums[..., None]).exp() * grad.sum(-2)[..., None]
    for t, p in enumerate(_each(*targets)):
        x = x - p * grad[..., t, :, None]
    return x.to(student.dtype)


def _each(
    logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor, column: Tensor, row: Tensor
) -> list[Tensor]:
    """Probabilities (N, K) of each teacher."""
    parts = zip(logits, row_shift, row, strict=True)
    return [probabilities(x, scale, column_shift, shift, column, each) for x, shift, each in parts]
