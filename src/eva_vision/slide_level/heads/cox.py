"""A Cox model of the mean of a bag."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from eva_vision.slide_level.heads.linear_mean import Linear, LinearOfMeans
from eva_vision.slide_level.survival.cox_fit import fit_cox


class Cox(LinearOfMeans):
    """Minimises -log partial likelihood / N + penalty / 2 * ||w||^2 on standardised means, ties as Efron has them.

    Where nobody has the event, all risks are the same.
    """

    tasks: ClassVar = frozenset({"slide_survival"})

    @override
    def solve(self, x: Tensor, targets: Tensor, penalties: Sequence[float]) -> list[Linear]:
        times, events = targets[:, 0], targets[:, 1] == 1
        if not events.any():
            return [Linear(torch.zeros_like(x[0]), 0.0, penalty) for penalty in penalties]
        return [Linear(fit_cox(x, times, events, penalty), 0.0, penalty) for penalty in penalties]
