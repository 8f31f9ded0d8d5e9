"""Logistic regression as scikit-learn's defaults fit it, on embeddings as they are, with C chosen on a validation set.

Source: PathoROB's probe of the average performance drop (bifold-pathomics/PathoROB @ 46594e9): 15 values of C, and
scikit-learn's `LogisticRegression(C=C)`, which ends after 100 steps of L-BFGS or at a gradient of 1e-4.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

CS: tuple[float, ...] = tuple(float(c) for c in 10 ** np.linspace(-8, 4, 15))
_OPTIONS = {"maxiter": 100, "maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}


@dataclass(frozen=True)
class Probe:
    """Logits x W^T + b: weight float32 (K, D), bias float32 (K,); K = 1 for two classes."""

    weight: Tensor
    bias: Tensor

    def predict(self, x: Tensor) -> NDArray[np.int64]:
        """Classes of embeddings (N, D) -> (N,)."""
        logits = x @ self.weight.T + self.bias
        found: NDArray[np.int64] = ((logits[:, 0] > 0).long() if len(self.bias) == 1 else logits.argmax(1)).numpy()
        return found


def fit(x: Tensor, y: Tensor, classes: int, c: float) -> Probe:
    """Minimise mean cross entropy + ||W||^2 / (2 C n), the bias free.

    Args:
        x: Embeddings, float32 (n, D).
        y: Classes, int64 (n,).
        classes: How many there are.
        c: Inverse of the strength of the penalty.
    """
    outputs, (n, dim) = (1 if classes == 2 else classes), x.shape
    target = y[:, None].float() if outputs == 1 else nn.functional.one_hot(y, classes).float()

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = _unpacked(flat, outputs, dim)
        logits = x @ weight.T + bias
        if outputs == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
            slopes = (logits.sigmoid() - target) / n
        else:
            loss = nn.functional.cross_entropy(logits, y)
            slopes = (logits.softmax(1) - target) / n
        gradient = torch.cat([(slopes.T @ x).flatten(), slopes.sum(0)]).double().numpy()
        coefficients = flat[: outputs * dim]
        gradient[: outputs * dim] += coefficients / (c * n)
        return float(loss) + float(coefficients @ coefficients) / (2 * c * n), gradient

    start = np.zeros(outputs * (dim + 1))
    return Probe(*_unpacked(minimize(objective, start, jac=True, method="L-BFGS-B", options=_OPTIONS).x, outputs, dim))


def _unpacked(flat: NDArray[np.float64], outputs: int, dim: int) -> tuple[Tensor, Tensor]:
    both = torch.from_numpy(flat).float()
    return both[: outputs * dim].view(outputs, dim), both[outputs * dim :]


def fit_best(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], classes: int) -> Probe:
    """Fit with the C that classifies the validation set best, the smallest of equals."""
    probes = (fit(*train, classes, c) for c in CS)
    return max(probes, key=lambda probe: balanced_accuracy(probe, *validation))


def balanced_accuracy(probe: Probe, x: Tensor, y: Tensor) -> float:
    """Mean recall over the classes that there are."""
    truth, found = y.numpy(), probe.predict(x)
    return float(np.mean([(found[truth == label] == label).mean() for label in np.unique(truth)]))
