"""A risk as an outcome of a bag."""

import numpy as np
from torch import Tensor
from typing_extensions import override

from eva_vision.slide_level.contracts import Outcome
from eva_vision.slide_level.survival.cox_loss import cox_loss
from eva_vision.slide_level.survival.measures import weighted
from eva_vision.slide_level.survival.metric_names import METRICS
from eva_vision.slide_level.survival.targets import Outcomes


class Risk(Outcome):
    """A log hazard, learnt by the partial likelihood of Cox among the bags of a batch.

    Attributes:
        metric: What is best on the samples that select, one of `eva_vision.slide_level.survival.metric_names.METRICS`.
    """

    outputs = 1

    def __init__(self, metric: str = "c_harrell") -> None:
        """Keep the main metric."""
        self.metric = metric

    @override
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs (B, 1), times and events (B, 2)."""
        return cox_loss(outputs[:, 0], targets[:, 0], targets[:, 1])

    @override
    def value(self, outputs: Tensor, targets: Tensor) -> float:
        times, events = targets.double().numpy().T
        known = Outcomes(times, events == 1)
        score = weighted(outputs[:, 0].double().numpy(), known, np.ones((1, len(times))), (self.metric,))[self.metric]
        return METRICS[self.metric].sign * float(score[0])
