"""Targets of the student: probabilities from the teacher's logits, such that no prototype takes all images.

Both ways use the rows of all ranks; ranks may have different numbers of rows.
"""

import torch
from torch import Tensor, nn

from eva_core.errors import refuse
from eva_pretrain.distributed import all_reduce_max, all_reduce_sum
from eva_pretrain.losses.targets import Targets, column_sum, column_top, row_sum, row_top, scale_of


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
    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """Compute probabilities (N, K) float32 of logits (N, K), without gradient and without moving the centre."""
        return torch.sub(logits, self.centre).div_(temperature).softmax(-1)

    @torch.no_grad()
    def targets(self, logits: Tensor, temperature: float) -> Targets:
        """Compute `Targets` of logits (N, K), whose probabilities are those of `forward`, by compiled functions."""
        scale = scale_of(logits, temperature)
        shift = self.centre[0] * scale
        top = row_top(logits, scale, shift)
        sums = row_sum(logits, scale, shift, top, torch.ones_like(shift))
        return Targets(logits.detach(), scale, shift, top, torch.zeros_like(shift), -sums.log())

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
def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Compute probabilities such that all prototypes are used about equally: Sinkhorn-Knopp.

    In turn all columns and all rows of exp(logits / temperature) are scaled to the same sum. Only the scale of each row
    and column is stored, not the scaled matrix. Two shifts that cancel in the result make it safe for logits of any
    size: first the largest value of each column is subtracted from it, then that of each row. Then each row and each
    column has a 1 and nothing above it, so no sum can overflow or vanish (a single maximum for all would lose rows
    that lie 100 below it). One float32 copy of the logits is held, and becomes the result.

    Args:
        logits: Outputs of the teacher, (N, K); N may differ among ranks and be 0.
        temperature: Divisor of the logits.
        iterations: Number of iterations, each of a column and a row step; at least 1.

    Returns:
        Probabilities (N, K) float32, rows sum to 1.
    Source: Cuturi 2013, algorithm 1; Caron et al. 2020 (SwAV), section 3.1; 3 iterations in DINOv2.

    Examples:
        >>> logits = torch.tensor([[3.0, 0.0], [2.0, 0.0]])
        >>> sinkhorn(logits, temperature=1.0).argmax(1).tolist()  # a softmax would choose prototype 0 for both
        [0, 1]
    """
    with torch.autocast(logits.device.type, enabled=False):
        scaled = logits.to(torch.float32, copy=True).div_(temperature)
        lowest = scaled.new_full((logits.shape[1],), -torch.inf)
        scaled -= all_reduce_max(scaled.amax(0) if len(scaled) else lowest)
        shift = scaled.amax(1)
        scaled = scaled.sub_(shift[:, None]).exp_()
        row = shift.exp()  # the shift of a column vanishes in its first scaling, that of a row has to be passed on
        for _ in range(iterations):
            column = all_reduce_sum(scaled.T @ row).reciprocal_()
            row = (scaled @ column).reciprocal_()
        return scaled.mul_(column).mul_(row[:, None])


@torch.no_grad()
def sinkhorn_targets(logits: Tensor, temperature: float, iterations: int = 3) -> Targets:
    """Compute `Targets` whose probabilities are those of `sinkhorn`, by compiled functions in 8 passes over the logits.

    Args:
        logits: Outputs of the teacher, (N, K); N may differ among ranks and be 0.
        temperature: Divisor of the logits.
        iterations: Number of iterations; at least 1.
    """
    with torch.autocast(logits.device.type, enabled=False):
        scale = scale_of(logits, temperature)
        lowest = logits.new_full((logits.shape[1],), -torch.inf, dtype=torch.float32)
        shift = all_reduce_max(column_top(logits, scale) if len(logits) else lowest)
        top = row_top(logits, scale, shift)
        row = top.exp()
        for _ in range(iterations):
            column = all_reduce_sum(column_sum(logits, scale, shift, top, row)).reciprocal_()
            row = row_sum(logits, scale, shift, top, column).reciprocal_()
        return Targets(logits.detach(), scale, shift, top, column.log_(), row.log_())
