"""Calibration before and after one temperature, fitted on the part of train that was held out.

Logits are divided by a single number for each run, the one with the least negative log-likelihood on the hold-out; no
decision changes (Guo et al., On Calibration of Modern Neural Networks, ICML 2017). The hold-out is never a reported
split: where a protocol selects on one, no temperature is fitted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_expit, log_softmax, softmax

from eva_core.classification.calibration_bins import calibration_gaps
from eva_core.classification.metric_names import metrics_of
from eva_core.classification.metrics import weighted
from eva_core.classification.predictions import Predictions
from eva_core.contracts.metric import Metric
from eva_core.contracts.results import Calibration, MetricRecord
from eva_core.statistics.summary import measured_record

COLDEST, HOTTEST = 0.01, 100.0
"""Temperatures that are tried. A head that is right on all of the hold-out would be as sure as can be."""
NLL = "nll"


def calibrated(held_out: Predictions, parts: Mapping[str, Predictions]) -> Calibration:
    """What results.json says of calibration.

    Args:
        held_out: What the heads of every run say of the hold-out, before any of them learns from it.
        parts: Predictions of the reported splits, of the same runs.
    Returns:
        Temperatures by run, None where there is none; records of `nll`, `ece` and `brier` by split before and after,
        without splits where a run has no temperature.
    """
    temperatures = [temperature(odds, held_out.targets) for odds in held_out.ranking]
    known = [value for value in temperatures if value is not None]
    splits = {}
    if len(known) == len(temperatures):
        splits = {
            split: {"before": _record(part), "after": _record(scaled(part, known))} for split, part in parts.items()
        }
    return {"n": len(held_out.targets), "temperatures": temperatures, "splits": splits}


def temperature(log_odds: NDArray[np.floating], targets: NDArray[np.integer]) -> float | None:
    """The temperature of one run with the least negative log-likelihood.

    Args:
        log_odds: Log-odds of each class against the others, (N, C).
        targets: Class numbers, (N,).
    Returns:
        Between `COLDEST` and `HOTTEST`; None where a sample has no chance to be of its class at any temperature.

    Examples:
        >>> sure = np.array([[4.0, -4.0]] * 4)  # 98 %, and right three times in four
        >>> round(temperature(sure, np.array([0, 0, 0, 1])), 2)
        3.64
    """
    logs = log_expit(log_odds.astype(np.float64))  # logits, up to what is the same for all classes
    own = logs[np.arange(len(targets)), targets]
    if not np.isfinite(own).all():
        return None
    finite = np.where(np.isfinite(logs), logs, 0.0)  # a class without a chance has no weight either

    def slope(log_temperature: float) -> float:
        """Derivative of the negative log-likelihood by the inverse temperature, which rises with it."""
        expected = (softmax(logs / np.exp(log_temperature), axis=1) * finite).sum(axis=1)
        return float((expected - own).mean())

    low, high = np.log(COLDEST), np.log(HOTTEST)
    if slope(low) <= 0:
        return COLDEST
    if slope(high) >= 0:
        return HOTTEST
    return float(np.exp(brentq(slope, low, high, xtol=1e-12)))


def scaled(part: Predictions, temperatures: Sequence[float]) -> Predictions:
    """Predictions with the logits of each run divided by its temperature."""
    logs = log_expit(part.ranking.astype(np.float64)) / np.array(temperatures)[:, None, None]
    after = log_softmax(logs, axis=-1)
    with np.errstate(divide="ignore"):  # certainty
        odds = after - np.log(-np.expm1(after))
    return replace(part, scores=np.exp(after), log_odds=odds)


def _record(part: Predictions) -> dict[str, MetricRecord]:
    """Negative log-likelihood, calibration error and Brier score, each with its interval."""
    measures = [partial(_measured, scores, odds, part) for scores, odds in zip(part.scores, part.ranking, strict=True)]
    gaps = {"ece": [partial(calibration_gaps, "ece", scores, part.targets) for scores in part.scores]}
    facts = {**metrics_of(len(part.labels)), NLL: Metric(higher_is_better=False, bounds=(0.0, np.inf))}
    groups = part.known_groups if any(part.groups) else None
    record, _ = measured_record(measures, measures, len(part.ids), groups, facts, gaps)
    return record["metrics"]


def _measured(
    scores: NDArray[np.floating], odds: NDArray[np.floating], part: Predictions, weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """The three of one run under weights of the samples (d, N), NaN where a sample has no chance to be of its class."""
    own = log_expit(odds.astype(np.float64))[np.arange(len(part.targets)), part.targets]
    with np.errstate(invalid="ignore"):
        nll = -(weights @ own) / weights.sum(axis=1) if np.isfinite(own).all() else np.full(len(weights), np.nan)
    return {NLL: nll, **weighted(scores, part.targets, part.labels, weights, ["ece", "brier"])}
