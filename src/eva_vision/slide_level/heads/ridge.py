"""Ridge regression of values on the mean of a bag."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from eva_vision.slide_level.heads.linear_mean import Linear, LinearOfMeans


class Ridge(LinearOfMeans):
    """Minimises mean squared error + penalty * ||w||^2 on standardised means, bias free: scikit-learn's alpha / N."""

    tasks: ClassVar = frozenset({"slide_regression"})

    @override
    def solve(self, x: Tensor, targets: Tensor, penalties: Sequence[float]) -> list[Linear]:
        y = targets.double()
        bias = float(y.mean())
        left, scales, right = torch.linalg.svd(x, full_matrices=False)
        along = scales * (left.T @ (y - bias))
        shrunk = [along / (scales.square() + len(y) * penalty) for penalty in penalties]
        return [Linear(right.T @ w, bias, penalty) for w, penalty in zip(shrunk, penalties, strict=True)]
