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
    _, scales, directions = torch.linalg.svd(x, full_matrices=False)
    directions = directions[scales > 1e-12 * max(1.0, float(scales[0]))]  # (K, D)
    if not len(directions):
        return torch.zeros_like(features[0])
    patients = _Patients(x @ directions.T, times[order], happened)
    weights = torch.zeros(len(directions), dtype=torch.float64, device=x.device)
    value = _value(weights, patients, penalty)
    for _ in range(_STEPS):
        gradient, curvature = _derivatives(weights, patients, penalty)
        if gradient.abs().max() < _GRADIENT:
            break
        step = torch.linalg.solve(curvature, gradient)
        share, slope = 1.0, float(gradient @ step)
        while share > 1e-10:  # less of a step where a whole one goes too far
            tried = _value(weights - share * step, patients, penalty)
            if tried <= value - 1e-4 * share * slope + 1e-14 * abs(value):
                break
            share /= 2
        weights, value = weights - share * step, tried
    fitted: Tensor = (directions.T @ weights).to(features.dtype)
    return fitted


class _Patients:
    """Patients by time, the last first, so that at risk at a time are all until it; and who has the event with whom."""

    def __init__(self, z: Tensor, times: Tensor, events: Tensor) -> None:
        _, together, counts = torch.unique_consecutive(times, return_inverse=True, return_counts=True)
        self.z, self.events, self.together = z, events.double(), together
        self.last = counts.cumsum(0) - 1  # the last patient at risk at each time
        self.rows = events.nonzero()[:, 0]  # one term of the likelihood an event
        self.time = together[self.rows]
        deaths = torch.bincount(self.time, minlength=len(counts))
        before = deaths.cumsum(0) - deaths
        # share of those with the event at this time that each of them leaves out in turn
        self.share = (torch.arange(len(self.rows), device=times.device) - before[self.time]) / deaths[
            self.time
        ].double()

    def terms(self, of: Tensor) -> Tensor:
        """What is at risk in each term of the likelihood of something that patients have: (N, ...) -> (E, ...)."""
        with_event = of.new_zeros(len(self.last), *of.shape[1:]).index_add(0, self.time, of[self.rows])
        share = self.share.reshape(-1, *[1] * (of.ndim - 1))
        return of.cumsum(0)[self.last[self.time]] - share * with_event[self.time]


def _value(weights: Tensor, patients: _Patients, penalty: float) -> float:
    """What is minimised."""
    hazards = patients.z @ weights
    totals = patients.terms((hazards - hazards.max()).exp())
    loss = (totals.log() + hazards.max()).sum() - hazards[patients.rows].sum()
    return float(loss / len(hazards) + penalty / 2 * weights @ weights)


def _derivatives(weights: Tensor, patients: _Patients, penalty: float) -> tuple[Tensor, Tensor]:
    """Gradient (K,) and curvature (K, K) of what is minimised."""
    z, n = patients.z, len(patients.z)
    hazards = z @ weights
    relative = (hazards - hazards.max()).exp()
    totals = patients.terms(relative)
    means = patients.terms(relative[:, None] * z) / totals[:, None]  # (E, K)
    by_time = torch.zeros(2, len(patients.last), dtype=z.dtype, device=z.device)
    by_time.index_add_(1, patients.time, torch.stack([1 / totals, patients.share / totals]))
    so_far = by_time[0].flip(0).cumsum(0).flip(0)  # over all times at which a patient was at risk
    # events that each patient was expected to have
    expected = relative * (so_far[patients.together] - patients.events * by_time[1][patients.together])
    gradient = z.T @ (expected - patients.events) / n + penalty * weights
    curvature = (z.T @ (expected[:, None] * z) - means.T @ means) / n
    curvature.diagonal().add_(penalty)
    return gradient, curvature
