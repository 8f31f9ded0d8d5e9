"""What a report shows of a survival task: the curves of the patients of higher and lower risk, and both in numbers."""

import math

import numpy as np

from eva_core.contracts.sections import CurvesSection, Section, TableSection
from eva_core.reports.sources import Sources
from eva_vision.slide_level.survival.kaplan_meier import Curve, at_risk, log_rank, survival_curve
from eva_vision.slide_level.survival.predictions import Risks, read_risks

TICKS = 4
"""Parts that the axis of time has; numbers at risk stand at their ends."""
PLACES = 1000
"""Times along the axis that a picture can tell apart."""


def sections(sources: Sources) -> list[Section]:
    """The parts of a report that are a survival task's own, of its main split."""
    return sections_of(read_risks(sources.folder, sources.results["main"]["split"]))


def sections_of(found: Risks) -> list[Section]:
    """The parts of a report of these risks."""
    high = above_median(found)
    if not found.events.any() or high.all() or not high.any():
        note = "The risks, or the events, do not part the patients in two: there are no curves."
        return [{"kind": "note", "title": "Kaplan-Meier", "note": note}]
    groups = {"higher risk": high, "lower risk": ~high}
    curves = {name: survival_curve(found.times[of], found.events[of]) for name, of in groups.items()}
    return [_curves(found, high, groups, curves), _table(found, groups, curves)]


def above_median(found: Risks) -> np.ndarray:
    """Whether the mean risk of a patient is above the median of its stratum, (N,)."""
    mean, stratum = found.risks.mean(axis=0), found.outcomes.stratum
    high = np.zeros(len(mean), bool)
    for number in np.unique(stratum):
        inside = stratum == number
        high[inside] = mean[inside] > np.median(mean[inside])
    return high


def _curves(found: Risks, high: np.ndarray, groups: dict[str, np.ndarray], curves: dict[str, Curve]) -> CurvesSection:
    end = axis_end(float(found.times.max()))
    ticks = np.linspace(0, end, TICKS + 1)
    p = log_rank(found.times, found.events, high)
    said = "no log-rank test is defined" if p is None else f"log-rank p {_shown(p)}"
    runs = " over runs" if len(found.risks) > 1 else ""
    where = "its fold" if found.outcomes.stratum.any() else f"these {len(found.ids):,} patients"
    return {
        "kind": "curves",
        "title": "Kaplan-Meier",
        "note": (
            f"Patients of {found.split} with a mean risk{runs} above the median of {where}, and the others; {said}. "
            "Strokes are ends of follow-up, numbers below are patients at risk. The median is that of the patients "
            "shown: on others it would be another."
        ),
        "x": "time",
        "y": "without the event",
        "series": [
            {
                "name": f"{name} ({int(of.sum()):,} patients, {int(found.events[of].sum()):,} events)",
                "points": _points(curve, end),
                "marks": _marks(found.times[of & ~found.events], end),
            }
            for (name, of), curve in zip(groups.items(), curves.values(), strict=True)
        ],
        "ranges": ((0.0, end), (0.0, 1.0)),
        "step": True,
        "counts": {
            "name": "at risk",
            "at": [float(t) for t in ticks],
            "rows": [at_risk(found.times[of], ticks) for of in groups.values()],
        },
    }


def _points(curve: Curve, end: float) -> list[tuple[float, float]]:
    """The steps of a curve, of those in one place of the axis the last."""
    places = np.floor(curve.times / end * PLACES)
    shown = np.append(np.diff(places) > 0, True)
    shown[0] = True
    return [(_digits(t), round(float(s), 4)) for t, s in zip(curve.times[shown], curve.survival[shown], strict=True)]


def _marks(times: np.ndarray, end: float) -> list[float]:
    """Times that differ on the axis."""
    _, first = np.unique(np.floor(times / end * PLACES), return_index=True)
    return [_digits(t) for t in np.sort(times[first])]


def axis_end(most: float) -> float:
    """Where an axis from 0 ends so that its parts are round numbers: at `most` or a little beyond.

    Examples:
        >>> axis_end(53.0), axis_end(0.9), axis_end(3650.0)
        (60.0, 1.0, 4000.0)
    """
    if most <= 0:
        return 1.0
    part = most / TICKS
    power = 10.0 ** math.floor(math.log10(part))
    return (
        TICKS * power * next(step for step in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if step * power >= part * (1 - 1e-9))
    )


def _table(found: Risks, groups: dict[str, np.ndarray], curves: dict[str, Curve]) -> TableSection:
    middle = float(np.median(found.times[found.events]))
    rows: list[list[str | float | None]] = []
    for (name, of), curve in zip(groups.items(), curves.values(), strict=True):
        half = curve.median()
        share = float(curve.at(np.array([middle]))[0])
        rows.append([name, f"{int(of.sum()):,}", f"{int(found.events[of].sum()):,}", _time(half), share])
    return {
        "kind": "table",
        "title": "Higher and lower risk",
        "note": "Median time is when half have had the event; a dash where fewer have.",
        "columns": ["group", "patients", "events", "median time", f"without the event at {_time(middle)}"],
        "rows": rows,
        "bars": [4],
    }


def _time(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _shown(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
