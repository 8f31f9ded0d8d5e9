"""A value as an outcome of a bag."""

import numpy as np
from torch import Tensor
from typing_extensions import override

from eva_vision.regression.metric_names import METRICS
from eva_vision.regression.metrics import weighted
from eva_vision.slide_level.contracts import Outcome


class Value(Outcome):
    """A number, learnt by its squared error.

    Attributes:
        metric: What is best on the samples that select, one of `eva_vision.regression.metric_names.METRICS`.
    """

    outputs = 1

    def __init__(self, metric: str = "r2") -> None:
        """Keep the main metric."""
        self.metric = metric

    @override
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error: outputs (B, 1) and targets (B,)."""
        return (outputs[:, 0] - targets.to(outputs.dtype)).square().mean()

    @override
    def value(self, outputs: Tensor, targets: Tensor) -> float:
        x, y = outputs[:, 0].double().numpy(), targets.double().numpy()
        score = weighted(x, y, np.ones((1, len(y))), wanted=(self.metric,))[self.metric]
        return METRICS[self.metric].sign * float(score[0])

    @override
    def units(self, targets: Tensor) -> tuple[float, float]:
        """Mean and standard deviation, so that targets of any scale are learnt alike."""
        if not len(targets):
            return 0.0, 1.0
        spread = float(targets.double().std(correction=0))
        return float(targets.double().mean()), spread if spread > 0 else 1.0
