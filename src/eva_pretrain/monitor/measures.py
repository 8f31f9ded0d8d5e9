"""Measures of embeddings that need no labels.

All but the entropy depend on the number of samples N: compare them only between steps and runs on the same patches,
with N >= 10 D. All are NaN where an embedding is not finite.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_CONSTANT = 1e-6
"""Standard deviation of a dimension, as a share of its root mean square, up to which it is constant in float32."""


def rankme(x: Tensor, eps: float = 1e-7) -> float:
    """Compute the effective rank: exp(-sum p log p), p = singular values of the uncentred matrix / their sum + eps.

    It depends on N: fix the patches, N >= 10 D.

    Args:
        x: Embeddings (N, D), any scale; converted to float64 on the CPU.
        eps: Small number that is added to each p.
    Returns:
        1 for embeddings that are all alike, at most about min(N, D).
    Source: Garrido et al. 2023, RankMe, eq. 1.

    Examples:
        >>> round(rankme(torch.eye(4)), 3), round(rankme(torch.ones(4, 4)), 3)
        (4.0, 1.0)
    """
    x = _double(x)
    if not x.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(x)
    p = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + eps
    return math.exp(-(p * p.log()).sum().item())


def off_diagonal_correlation(x: Tensor) -> tuple[float, float]:
    """Compute how far dimensions repeat each other: mean |r| and log mean r^2 over pairs of dimensions, i != j.

    It depends on N (independent dimensions have a mean |r| of about sqrt(2 / (pi N))): fix the patches, N >= 10 D.

    Args:
        x: Embeddings (N, D), any scale.
    Returns:
        Both values, the logarithm to base e. A constant dimension has no correlation and is left out; NaN where fewer
        than two are left, as in a full collapse.
    Note: the pathology literature reports an ODCorr without saying which of the two it is.
    """
    x = _double(x)
    centred = x - x.mean(0)
    varying = centred.norm(dim=0) > _CONSTANT * x.norm(dim=0)
    z = F.normalize(centred[:, varying], dim=0)
    d = z.shape[1]
    if d < 2 or not x.isfinite().all():
        return math.nan, math.nan
    r = (z.T @ z).fill_diagonal_(0)  # (d, d)
    pairs = d * (d - 1)
    mean_square = r.square().sum().item() / pairs
    return r.abs().sum().item() / pairs, math.log(mean_square) if mean_square else -math.inf


def entropy(probabilities: Tensor) -> float:
    """Average the entropy of samples over prototypes, in nats: 0 where one takes all, log K where all are alike.

    Args:
        probabilities: Outputs of the teacher, (N, K); rows sum to 1.

    Examples:
        >>> entropy(torch.eye(3)), round(entropy(torch.full((3, 8), 1 / 8)) / math.log(8), 3)
        (0.0, 1.0)
    """
    return float(torch.special.entr(probabilities.detach().float()).sum(1).mean())


def feature_std(x: Tensor) -> float:
    """Compute the standard deviation of L2-normalised embeddings, averaged over dimensions.

    It depends, a little, on N: fix the patches, N >= 10 D.

    Args:
        x: Embeddings (N, D), any scale.
    Returns:
        0 for a full collapse, 1 / sqrt(D) where they are spread evenly over the sphere.
    Source: Chen and He 2021, SimSiam, section 4.1.
    """
    return float(F.normalize(_double(x), dim=1).std(0, correction=0).mean())


def _double(x: Tensor) -> Tensor:
    return x.detach().cpu().double()
