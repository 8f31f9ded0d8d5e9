"""A linear Cox model with an L2 penalty, by Newton's method in the space that the patients span.

The log partial likelihood, ties as Efron has them (JASA 72, 1977), is concave in the N log hazards. Its curvature in
the weights is that in the hazards seen through the features, of which N patients span at most N directions: with more
features than patients the problem has N unknowns, as the penalised weights lie in that span. It is convex and smooth:
about ten steps reach the optimum.
"""

import torch
from torch import Tensor

from eva_core.errors import EvaError

_STEPS, _GRADIENT = 100, 1e-9
_BLOCK = 512  # events at a time


def fit_cox(features: Tensor, times: Tensor, events: Tensor, penalty: float) -> Tensor:
    """Weights of a linear log hazard that minimise -log partial likelihood / N + penalty / 2 * |weights|^2.

    On standardised features this is what lifelines' `CoxPHFitter(penalizer=penalty)` fits, before it scales back.

    Args:
        features: Standardised features, (N, D).
        times: Time of the event, or until which nothing had happened, (N,).
        events: Whether the event happened at that time, (N,) bool or 0 and 1.
        penalty: Strength of the L2 penalty, above 0.

    Returns:
        (D,), of the dtype and device of the features; computed in float64.

    Raises:
        ValueError: The penalty is not above 0, or there is no event.
        EvaError: The features are not finite.
    """
    if not penalty > 0 or not events.any():
        raise ValueError(f"Expected a penalty above 0 and an event at least, but got {penalty} and {events.sum()}.")
    if not features.isfinite().all():
        raise EvaError("Expected finite features to fit a Cox model, but some are not. Look at the embeddings.")
    order = torch.argsort(times, descending=True, stable=True)  # at risk are all before, and those at the same time
    x, happened = features[order].double(), events[order].bool()
    ties = _Ties(times[order], happened)
    _, scales, directions = torch.linalg.svd(x, full_matrices=False)
    directions = directions[scales > 1e-12 * max(1.0, float(scales[0]))]  # (K, D)
    if not len(directions):
        return torch.zeros_like(features[0])
    z = x @ directions.T  # (N, K)
    weights = torch.zeros(z.shape[1], dtype=torch.float64, device=x.device)
    value, gradient, curvature = _objective(weights, z, ties, penalty)
    for _ in range(_STEPS):
        if gradient.abs().max() < _GRADIENT:
            break
        step = torch.linalg.solve(curvature, gradient)
        share, slope = 1.0, float(gradient @ step)
        while share > 1e-10:  # less of a step where a whole one goes too far
            tried = _objective(weights - share * step, z, ties, penalty)
            if tried[0] <= value - 1e-4 * share * slope + 1e-14 * abs(value):
                break
            share /= 2
        weights = weights - share * step
        value, gradient, curvature = tried
    fitted: Tensor = (directions.T @ weights).to(features.dtype)
    return fitted


class _Ties:
    """Who has the event, and with how many others at the same time; patients by time, the last first."""

    def __init__(self, times: Tensor, events: Tensor) -> None:
        _, together, counts = torch.unique_consecutive(times, return_inverse=True, return_counts=True)
        self.together, self.events = together, events
        self.at_risk = counts.cumsum(0)  # how many are followed until each time or longer
        self.rows = events.nonzero()[:, 0]  # one term of the likelihood an event
        self.time = together[self.rows]
        deaths = torch.bincount(self.time, minlength=len(counts))
        before = deaths.cumsum(0) - deaths
        # share of those with the event at this time that each of them leaves out in turn
        self.share = (torch.arange(len(self.rows), device=times.device) - before[self.time]) / deaths[
            self.time
        ].double()


def _objective(weights: Tensor, z: Tensor, ties: _Ties, penalty: float) -> tuple[float, Tensor, Tensor]:
    """Value, gradient (K,) and curvature (K, K) of what is minimised."""
    n = len(z)
    hazards = z @ weights
    relative = (hazards - hazards.max()).exp()
    sums = torch.zeros(len(ties.at_risk), dtype=torch.float64, device=z.device)
    of_events = sums.index_add(0, ties.time, relative[ties.rows])
    at_risk = relative.cumsum(0)[ties.at_risk - 1]
    totals = at_risk[ties.time] - ties.share * of_events[ties.time]  # (E,)
    value = (totals.log() + hazards.max()).sum() - hazards[ties.rows].sum()
    expected = torch.zeros_like(hazards)  # events that each patient was expected to have
    curvature = torch.zeros(z.shape[1], z.shape[1], dtype=torch.float64, device=z.device)
    position = torch.arange(n, device=z.device)
    for start in range(0, len(ties.rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        time, share = ties.time[block, None], ties.share[block, None]
        left = (position < ties.at_risk[time]).double() - share * ((ties.together == time) & ties.events)
        shares = left * relative / totals[block, None]  # (block, N): the chance of each to be the one
        expected += shares.sum(0)
        means = shares @ z
        curvature -= means.T @ means
    curvature += z.T @ (expected[:, None] * z)
    gradient = z.T @ (expected - ties.events.double())
    eye = torch.eye(len(weights), dtype=torch.float64, device=z.device)
    total = float(value / n + penalty / 2 * weights @ weights)
    return total, gradient / n + penalty * weights, curvature / n + penalty * eye
