"""Targets of the student: probabilities from the teacher's logits, such that no prototype takes all images.

At 131,072 prototypes the probabilities of a step are gigabytes in float32. So they are never stored: `Targets` has the
logits, as the network gave them, and scales of each row and column, from which the losses make them where they are
needed. Both ways use the rows of all ranks; ranks may have different numbers of rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eva_core.errors import refuse
from eva_pretrain.compilation import compiled, rows_vary
from eva_pretrain.distributed import all_reduce_max, all_reduce_sum


class Targets(NamedTuple):
    """Probabilities exp(scale * logits - column_shift - row_shift + column + row), whose rows sum to 1.

    Attributes:
        logits: Outputs of the teacher, (..., N, K), any float dtype.
        scale: One over the temperature, a scalar float32.
        column_shift: Subtracted from each column, before all else, (K,) float32.
        row_shift: Subtracted from each row, next, (..., N) float32.
        column: Added to each column, (K,) float32.
        row: Added to each row, (..., N) float32.
        compile: Let the losses compile what they make of it.
    """

    logits: Tensor
    scale: Tensor
    column_shift: Tensor
    row_shift: Tensor
    column: Tensor
    row: Tensor
    compile: bool = False

    def probabilities(self) -> Tensor:
        """Compute all probabilities, (..., N, K) float32."""
        return probabilities(*self[:-1])

    def unflatten(self, first: int) -> "Targets":
        """Divide the rows into `first` sets of as many, (first, N / first, K)."""
        logits, _, _, row_shift, _, row, _ = self
        return self._replace(
            logits=logits.unflatten(0, (first, -1)),
            row_shift=row_shift.unflatten(0, (first, -1)),
            row=row.unflatten(0, (first, -1)),
        )


def of_probabilities(given: Tensor) -> Targets:
    """Make targets of probabilities (..., N, K) whose rows sum to 1."""
    rows, columns = given.new_zeros(given.shape[:-1]), given.new_zeros(given.shape[-1])
    return Targets(given.float().log(), given.new_ones(()), columns, rows, columns, rows)


def probabilities(
    logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor, column: Tensor, row: Tensor
) -> Tensor:
    """Compute probabilities (..., N, K) float32 from the parts of `Targets`."""
    x = _shifted(logits, scale, column_shift, row_shift)
    return x.add_(column).add_(row[..., None]).exp_()


def _shifted(logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor) -> Tensor:
    """Compute scale * logits - column_shift - row_shift in float32."""
    return torch.addcmul(-column_shift, logits, scale).sub_(row_shift[..., None])


class Centring(nn.Module):
    """Subtract a running mean from the logits, then sharpen.

    Source: Caron et al. 2021 (DINO), section 3.1, equation 4; momentum 0.9 in DINO and DINOv2.

    Attributes:
        centre: Running mean of the logits, (1, K) float32; part of the state.
    """

    centre: Tensor

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        """Start at a centre of 0.

        Args:
            prototypes: Number of prototypes, K.
            momentum: Share of the centre that is kept at each update.

        Raises:
            UsageError: The momentum is not of at least 0 and below 1.
        """
        refuse((not 0 <= momentum < 1, "centre_momentum of at least 0 and below 1", momentum), where="method")
        super().__init__()
        self.momentum = momentum
        self.register_buffer("centre", torch.zeros(1, prototypes))

    @torch.no_grad()
    def forward(self, logits: Tensor, temperature: float, compile: bool = False) -> Targets:
        """Compute the targets of logits (N, K), without gradient and without moving the centre."""
        step, scale = _step(compile, logits), _scale(logits, temperature)
        logits, shift = logits.detach(), self.centre[0] * scale
        top = step(_row_top, logits, scale, shift)
        row = -step(_row_sum, logits, scale, shift, top, torch.ones_like(shift)).log_()
        return Targets(logits, scale, shift, top, torch.zeros_like(shift), row, compile)

    @torch.no_grad()
    def update(self, logits: Tensor) -> None:
        """Move the centre by the mean of logits (N, K) over the rows of all ranks.

        The centre stays where no rank has a row or a value is not finite: one broken step must not break later ones.
        """
        rows = torch.full((1,), len(logits), dtype=torch.float32, device=logits.device)
        total = all_reduce_sum(torch.cat([logits.sum(0, dtype=torch.float32), rows]))
        mean = total[:-1] / total[-1]
        moved = self.centre.lerp(mean[None], 1 - self.momentum)
        self.centre.copy_(torch.where(mean.isfinite().all(), moved, self.centre))  # without waiting for the GPU


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3, compile: bool = False) -> Targets:
    """Compute targets such that all prototypes are used about equally: Sinkhorn-Knopp.

    In turn all columns and all rows of exp(logits / temperature) are scaled to the same sum. Only the scale of each row
    and column is kept. Two shifts that cancel in the result make it safe for logits of any size: first the largest
    value of each column is subtracted from it, then that of each row. Then each row and each column has a 1 and nothing
    above it, so no sum can overflow or vanish (a single maximum for all would lose rows that lie 100 below it).

    Args:
        logits: Outputs of the teacher, (N, K); N may differ among ranks and be 0.
        temperature: Divisor of the logits.
        iterations: Number of iterations, each of a column and a row step; at least 1.
        compile: Make the matrix anew from the logits in each sum, by compiled functions: 8 passes over the logits, in
            their own precision. Else one float32 copy is held meanwhile.

    Source: Cuturi 2013, algorithm 1; Caron et al. 2020 (SwAV), section 3.1; 3 iterations in DINOv2.

    Examples:
        >>> logits = torch.tensor([[3.0, 0.0], [2.0, 0.0]])
        >>> sinkhorn(logits, 1.0).probabilities().argmax(1).tolist()  # a softmax would choose prototype 0 for both
        [0, 1]
    """
    with torch.autocast(logits.device.type, enabled=False):
        step, scale = _step(compile, logits), _scale(logits, temperature)
        lowest = logits.new_full((logits.shape[1],), -torch.inf, dtype=torch.float32)
        shift = all_reduce_max(step(_column_top, logits, scale) if len(logits) else lowest)
        top = step(_row_top, logits, scale, shift)
        row = top.exp()  # the shift of a column vanishes in its first scaling, that of a row has to be passed on
        scaled = None if compile else _shifted(logits, scale, shift, top).exp_()
        for _ in range(iterations):
            parts = step(_column_sum, logits, scale, shift, top, row) if scaled is None else scaled.T @ row
            column = all_reduce_sum(parts).reciprocal_()
            sums = step(_row_sum, logits, scale, shift, top, column) if scaled is None else scaled @ column
            row = sums.reciprocal_()
        return Targets(logits.detach(), scale, shift, top, column.log_(), row.log_(), compile)


def _scale(logits: Tensor, temperature: float) -> Tensor:
    """One over the temperature, as a tensor: a number would be a part of the graph, and it changes at every step."""
    return torch.full((), 1 / temperature, device=logits.device)


def _step(compile: bool, logits: Tensor) -> Callable[..., Tensor]:
    if compile:
        rows_vary(logits, 0)
    return lambda function, *given: (compiled(function) if compile else function)(*given)


def _column_top(logits: Tensor, scale: Tensor) -> Tensor:
    return logits.amax(0).float() * scale


def _row_top(logits: Tensor, scale: Tensor, column_shift: Tensor) -> Tensor:
    return torch.addcmul(-column_shift, logits, scale).amax(1)


def _column_sum(logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor, row: Tensor) -> Tensor:
    return (_shifted(logits, scale, column_shift, row_shift).exp_() * row[:, None]).sum(0)


def _row_sum(logits: Tensor, scale: Tensor, column_shift: Tensor, row_shift: Tensor, column: Tensor) -> Tensor:
    return (_shifted(logits, scale, column_shift, row_shift).exp_() * column).sum(1)
