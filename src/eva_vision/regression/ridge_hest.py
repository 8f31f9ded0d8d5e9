"""Ridge regression on the principal components of standardised embeddings, as HEST-bench does it.

Source: Jaume et al. 2024, arXiv:2406.16192; facts as in mahmoodlab/HEST @ afd42c3.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import lsqr
from torch import Tensor
from typing_extensions import override

from eva_core.contracts.head import FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_vision.regression.contracts import RegressionHead, ValueData

COMPONENTS, STRENGTH = 256, 100.0
STEPS, TOLERANCE = 1000, 1e-4
"""Of LSQR, which stops at a tolerance: that is part of the published score."""
_BLOCK = 4096


class RidgeHest(RegressionHead):
    """Standardise, 256 principal components, ridge without intercept by LSQR.

    The mean of the training values is added to what is predicted, so that it is in their unit; no correlation sees it.
    The penalty is 100 / (components x values), and there are fewer components where embeddings are smaller.
    """

    @override
    def runs(self, protocol: Protocol) -> range:
        """One run: nothing is random."""
        del protocol
        return range(1)

    @override
    def fit(self, data: ValueData, protocol: Protocol) -> list[FittedRun]:
        """Fit the map from embeddings to values.

        Raises:
            EvaError: An embedding is not finite.
        """
        del protocol
        x, y = data.train.x.numpy(), data.train.y.numpy()
        weight, bias = fitted(x, y)
        params = {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias + y.mean(axis=0))}
        data.progress(1, 1)
        return [FittedRun(run, params, params, math.nan, {}) for run in data.runs]

    @override
    def values(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """Embeddings (N, D) -> values, float64 (N, G)."""
        parts = [part.double() @ params["weight"] + params["bias"] for part in x.split(_BLOCK)]
        return torch.cat(parts) if parts else torch.zeros(0, len(params["bias"]), dtype=torch.float64)


def fitted(x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit ridge to the principal components of standardised embeddings.

    LSQR is run on the coordinates of values in the basis of components, in which the components are a diagonal: the
    same iterates as on all samples, without a pass over them in each. LSQR stops at a tolerance, so that with about as
    many samples as components it is rounding that decides the result, in scikit-learn's as well.

    Args:
        x: Embeddings, (N, D).
        y: Values, (N, G).
    Returns:
        Weight (D, G) and bias (G,): predictions are x @ weight + bias, with mean 0 over these samples.
    Raises:
        EvaError: An embedding is not finite.
    """
    n = len(x)
    mean = sum(block.sum(axis=0) for block in _blocks(x)) / n
    centred = sum(((block - mean) ** 2).sum(axis=0) for block in _blocks(x)) / n
    if not np.isfinite(centred).all():
        raise EvaError("Expected finite embeddings to fit ridge to, but some are not. Look at the embeddings.")
    eps = float(np.finfo(np.float64).eps)
    constant = centred <= n * eps * centred + (n * eps * mean) ** 2  # but for rounding
    scale = np.where(constant, 1.0, np.sqrt(centred))
    gram, moments = np.zeros((x.shape[1], x.shape[1])), np.zeros((x.shape[1], y.shape[1]))
    for block, values in zip(_blocks(x), _blocks(y), strict=True):
        standard = (block - mean) / scale
        gram += standard.T @ standard
        moments += standard.T @ values
    count = min(COMPONENTS, *x.shape)
    squares, basis = eigh(gram, subset_by_index=(len(gram) - count, len(gram) - 1))
    length = np.sqrt(np.maximum(squares[::-1], 0))  # of each component over the samples
    basis = basis[:, ::-1]
    used = length > length.max(initial=0) * 1e-8
    inside = np.zeros((count, y.shape[1]))
    inside[used] = (basis.T @ moments)[used] / length[used, None]
    outside = np.sqrt(np.maximum((y.astype(np.float64) ** 2).sum(axis=0) - (inside**2).sum(axis=0), 0))
    diagonal = np.vstack([np.diag(np.where(used, length, 0)), np.zeros((1, count))])
    damp = math.sqrt(STRENGTH / (count * y.shape[1]))
    coefficients = np.stack(
        [
            lsqr(diagonal, np.append(of, rest), damp=damp, atol=TOLERANCE, btol=TOLERANCE, iter_lim=STEPS)[0]
            for of, rest in zip(inside.T, outside, strict=True)
        ],
        axis=1,
    )
    weight = (basis @ coefficients) / scale[:, None]
    return weight, -mean @ weight


def _blocks(values: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    for first in range(0, len(values), _BLOCK):
        yield values[first : first + _BLOCK].astype(np.float64)
