"""What a shift does to decisions: those that flip, by image and by patient; the score; where a drop is told from zero.

All are of the same heads on the same images, so each image is held against itself. Intervals draw patients or slides
where they are known, with the runs, as everywhere in eva; a drop is told by the paired difference of the score.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eva_core.classification.calibration_bins import calibration_gaps
from eva_core.classification.metric_names import METRICS
from eva_core.classification.metrics import weighted
from eva_core.classification.predictions import Predictions
from eva_core.statistics.comparison import Difference, holm, paired_means
from eva_core.statistics.intervals import interval, members
from eva_core.statistics.summary import record_of
from eva_vision.shifts.contracts import ChangeCard, Strength

if TYPE_CHECKING:
    from eva_core.contracts.results import MetricRecord

ECE = "ece"


def decisions(predictions: Predictions) -> NDArray[np.intp]:
    """The class that each run gives to each image, (R, N)."""
    classes: NDArray[np.intp] = predictions.scores.argmax(axis=-1)
    return classes


def patient_decisions(predictions: Predictions) -> NDArray[np.intp] | None:
    """The class that each run gives to each patient or slide by the mean of its probabilities, (R, P).

    None where no groups are known. Images without one count as patients of their own.
    """
    member, grouped = members(predictions.known_groups, len(predictions.ids))
    if not grouped:
        return None
    share = (np.arange(member.max() + 1)[:, None] == member) / np.bincount(member)[:, None]  # (P, N)
    means: NDArray[np.floating] = share @ predictions.scores
    classes: NDArray[np.intp] = means.argmax(axis=-1)
    return classes


def flips(clean: Predictions, shifted: Predictions) -> NDArray[np.float64]:
    """Where a decision is another one than on the image as it is: 0 or 1, (R, N)."""
    moved: NDArray[np.float64] = (decisions(clean) != decisions(shifted)).astype(np.float64)
    return moved


def shares(values: Mapping[str, NDArray[np.float64]], groups: Sequence[str | None] | None) -> dict[str, dict[str, Any]]:
    """Means of what each image has in each run, with 95 % intervals.

    Args:
        values: By name, (R, N) each.
        groups: Patient or slide of each image, (N,); None where each stands for itself.
    Returns:
        `mean`, `ci95` and `t95` (None unless groups are few) by name.
    """

    def measure(weights: NDArray[np.float64], run: int) -> dict[str, NDArray[np.float64]]:
        return {name: weights @ of[run] / weights.sum(axis=1) for name, of in values.items()}

    runs, n = next(iter(values.values())).shape
    intervals = interval([partial(measure, run=run) for run in range(runs)], n, groups)
    t95 = intervals.t95 or dict.fromkeys(values)
    return {
        name: {"mean": float(of.mean()), "ci95": intervals.ci95[name], "t95": t95[name]} for name, of in values.items()
    }


def flipped(clean: Predictions, shifted: Predictions) -> dict[str, Any]:
    """Shares of images, and of patients where they are known, whose decision is another one; with intervals.

    Returns:
        `images`, `patients` (None where no groups are known), `to_wrong` and `to_right`: right before and wrong after,
        and the other way round.
    """
    right = decisions(clean) == clean.targets, decisions(shifted) == clean.targets
    of_images = {
        "images": flips(clean, shifted),
        "to_wrong": (right[0] & ~right[1]).astype(np.float64),
        "to_right": (~right[0] & right[1]).astype(np.float64),
    }
    before, after = patient_decisions(clean), patient_decisions(shifted)
    patients = None
    if before is not None and after is not None:  # each patient is drawn as a whole
        patients = shares({"patients": (before != after).astype(np.float64)}, None)["patients"]
    return {**shares(of_images, clean.known_groups), "patients": patients}


def scored(predictions: Predictions, metric: str) -> "dict[str, MetricRecord]":
    """The main metric and the calibration error, each with mean, spread over runs and interval."""
    names = list(dict.fromkeys([metric, ECE]))
    arrays = list(zip(predictions.scores, predictions.ranking, strict=True))
    measures = [partial(_weighted, s, r, predictions.targets, predictions.labels, names) for s, r in arrays]
    one = np.ones((1, len(predictions.targets)))
    values = [{name: _number(v) for name, v in measure(one).items()} for measure in measures]
    gaps = {ECE: [partial(calibration_gaps, ECE, s, predictions.targets) for s in predictions.scores]}
    record, _ = record_of(values, values, measures, len(one[0]), predictions.known_groups, gaps, METRICS)
    return record["metrics"]


def _weighted(
    scores: NDArray[np.floating],
    ranking: NDArray[np.floating],
    targets: NDArray[np.integer],
    labels: Sequence[str],
    names: Sequence[str],
    weights: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    return weighted(scores, targets, labels, weights, names, ranking)


def _number(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def cosines(clean: NDArray[np.floating], shifted: NDArray[np.floating]) -> dict[str, float | None]:
    """Cosine of each embedding to that of the image as it is: mean, and the 5th percentile; (N, D) both."""
    norms = np.linalg.norm(clean, axis=1) * np.linalg.norm(shifted, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.clip((clean.astype(np.float64) * shifted).sum(axis=1) / norms, -1, 1)
    values = values[np.isfinite(values)]
    return {
        "mean": float(values.mean()) if len(values) else None,
        "p5": float(np.percentile(values, 5)) if len(values) else None,
    }


def told(differences: Sequence[Difference], sign: int) -> list[bool]:
    """Which drops of a score are told from zero, of all strengths of one change.

    The permutation test is corrected by Holm for the number of strengths, and the intervals must agree with it.

    Args:
        differences: Differences of the score, one for each strength: under the shift less without it.
        sign: 1 where a higher score is better, else -1.
    """
    adjusted = holm([np.nan if d.p is None else d.p for d in differences])
    return [sign * d.difference < 0 and d.is_significant(p) for d, p in zip(differences, adjusted, strict=True)]


def holds_until(card: ChangeCard, strengths: Sequence[Strength], dropped: Sequence[bool]) -> list[dict[str, Any]]:
    """The strongest strength before the first at which a drop is told from zero: for each side, or of each name.

    Args:
        card: Facts of the change: whether its strengths are ordered, and which of them changes nothing.
        strengths: Those that were tried, each side from mild to strong.
        dropped: Whether a drop is told, from `told`.
    Returns:
        For each side `side` (`-`, `+`, or empty where there is one), `until` (None: not even the mildest), `first`
        (None: nowhere) and `tried`, the strongest. Of names, `side` is the name and there is one entry for each.

    Examples:
        >>> holds_until(ChangeCard("blur", (1.0, 2.0, 4.0)), [1.0, 2.0, 4.0], [False, True, True])
        [{'side': '', 'until': 1.0, 'first': 2.0, 'tried': 4.0}]
    """
    pairs = list(zip(strengths, dropped, strict=True))
    if not card.ordered:
        return [
            {"side": name, "until": None if drop else name, "first": name if drop else None, "tried": name}
            for name, drop in pairs
        ]
    numbers = [(strength, drop) for strength, drop in pairs if isinstance(strength, float)]
    below = [pair for pair in numbers if pair[0] < card.neutral]
    above = [pair for pair in numbers if pair[0] > card.neutral or not below]
    entries: list[dict[str, Any]] = []
    both = bool(below and above)
    for side, of_side in (("-", below), ("+", above)):
        if of_side:
            first = next((number for number, (_, drop) in enumerate(of_side) if drop), len(of_side))
            entries.append(
                {
                    "side": side if both else "",
                    "until": of_side[first - 1][0] if first else None,
                    "first": of_side[first][0] if first < len(of_side) else None,
                    "tried": of_side[-1][0],
                }
            )
    return entries


def between(a: NDArray[np.float64], b: NDArray[np.float64], groups: Sequence[str | None]) -> dict[str, Any]:
    """Difference in the share of flipped decisions of two models on the same images, A - B, paired by group.

    Args:
        a: From `flips`, (R, N).
        b: Flips of the other model, from `flips` too, (R', N).
        groups: Patient or slide of each image.
    """
    found = paired_means(a, b, groups)
    return {"difference": found.difference, "ci95": found.ci95, "t95": found.t95, "p": found.p}
