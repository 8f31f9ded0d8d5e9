"""Classes as an outcome of a bag."""

import numpy as np
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from eva_core.classification.kappa import quadratic_kappa
from eva_core.classification.metric_names import KAPPA, METRICS
from eva_core.classification.metrics import selection_metric
from eva_vision.slide_level.contracts import Outcome


class Classes(Outcome):
    """One of several classes: a single output for two of them, else one for each.

    Attributes:
        classes: Number of classes.
        metric: What is best on the samples that select.
    """

    def __init__(self, classes: int, metric: str) -> None:
        """Keep how many classes there are, and the main metric."""
        self.classes, self.metric = classes, metric
        self.outputs = 1 if classes == 2 else classes

    @override
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross entropy of one output, else cross entropy."""
        if self.outputs == 1:
            return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype))
        return F.cross_entropy(outputs, targets)

    @override
    def value(self, outputs: Tensor, targets: Tensor) -> float:
        if self.metric == KAPPA:
            predicted = (outputs[:, 0] > 0).long() if self.outputs == 1 else outputs.argmax(1)
            kappa = quadratic_kappa(predicted.numpy(), targets.numpy(), np.ones((1, len(targets))))
            return float(kappa[0])
        score: Tensor = selection_metric(self.metric)(outputs[None], targets)
        return METRICS[self.metric].sign * float(score.item())
