"""Curves over the steps of a run as inline SVG, thinned: the page of a long run is as small as that of a short."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

COLOURS = ("var(--accent)", "#4269d0", "#d98b00", "#2f9e8f", "#ff725c", "#3ca951", "#a463f2", "#9c6b4e")
"""Of the curves of a chart; the first is that of the page."""
POINTS = 240
"""Most points of a curve."""
_WIDTH, _HEIGHT = 340, 168
_LEFT, _TOP, _RIGHT, _BOTTOM = 48, 8, 332, 146
_SPIKY = 50
"""Ratio of the greatest value to the median from which a chart is logarithmic, where it may be."""


class Curve(NamedTuple):
    """Values by step.

    Attributes:
        name: What they are.
        steps: In order.
        values: As many; what is not finite leaves a gap.
    """

    name: str
    steps: np.ndarray
    values: np.ndarray


class Thinned(NamedTuple):
    """A curve of few points, each with the mean, the least and the greatest of its values."""

    steps: np.ndarray
    means: np.ndarray
    least: np.ndarray
    greatest: np.ndarray


def thinned(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> Thinned:
    """Divide a curve into pieces of as many values each; a piece that has no finite value is not a number.

    Args:
        steps: In order, (n,).
        values: float (n,).
        points: Most pieces.

    Returns:
        The last step of each piece, and its values; the curve itself where it is short.
    """
    if len(steps) <= points:
        return Thinned(steps, values, values, values)
    starts = np.linspace(0, len(steps), points + 1).astype(int)[:-1]
    ends = np.append(starts[1:], len(steps))
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite, starts, dtype=float)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    means = np.divide(sums, counts, out=np.full(points, np.nan), where=counts > 0)
    least = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    greatest = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    gone = counts == 0
    return Thinned(steps[ends - 1], means, np.where(gone, np.nan, least), np.where(gone, np.nan, greatest))


def chart(title: str, curves: Sequence[Curve], note: str = "", percent: bool = False, spiky: bool = False) -> str:
    """Draw curves over steps as a figure; the last value of a single one stands beside its title.

    Args:
        title: Above it.
        curves: At least one; without any finite value, there is no figure.
        note: Below it.
        percent: Whether values are shares.
        spiky: Whether the axis becomes logarithmic where some values are far above the others.

    Returns:
        HTML, empty where there is nothing to draw.
    """
    finite = [curve.values[np.isfinite(curve.values)] for curve in curves]
    everything = np.concatenate(finite) if finite else np.empty(0)
    if not len(everything):
        return ""
    log = spiky and everything.min() > 0 and everything.max() > _SPIKY * np.median(everything)
    x = _Axis(float(min(c.steps[0] for c in curves)), float(max(c.steps[-1] for c in curves)), _LEFT, _RIGHT)
    y = _Axis(float(everything.min()), float(everything.max()), _BOTTOM, _TOP, log, 0.06)
    drawn = [_grid(x, y, percent)]
    drawn += [_drawn(curve, COLOURS[n % len(COLOURS)], x, y) for n, curve in enumerate(curves)]
    legend = ""
    if len(curves) > 1:
        named = zip(curves, COLOURS * len(curves), strict=False)
        legend = "".join(
            f'<span><i style="background:{colour}"></i>{escape(c.name)} {_last(c, percent)}</span>'
            for c, colour in named
        )
        legend = f'<div class="legend">{legend}</div>'
    value = f" <b>{_last(curves[0], percent)}</b>" if len(curves) == 1 else ""
    words = f"{title}{', logarithmic' if log else ''}"
    note = f"<small>{escape(note)}</small>" if note else ""
    return (
        f"<figure><figcaption>{escape(words)}{value}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(words)}">{"".join(drawn)}</svg>'
        f"{legend}{note}</figure>"
    )


class _Axis:
    """From values to places in the picture."""

    def __init__(
        self, low: float, high: float, first: float, last: float, log: bool = False, margin: float = 0.0
    ) -> None:
        self.log = log
        low, high = (math.log10(low), math.log10(high)) if log else (low, high)
        if high - low <= 1e-9 * max(abs(low), abs(high)):  # all alike
            around = (abs(high) * 0.1 or 0.5) if margin else 1.0
            low, high = low - around, high + around
        room = margin * (high - low)
        self.low, self.high, self.first, self.last = low - room, high + room, first, last

    def __call__(self, values: np.ndarray) -> np.ndarray:
        values = np.log10(values) if self.log else np.asarray(values, float)
        return self.first + (values - self.low) / (self.high - self.low) * (self.last - self.first)

    def ticks(self, most: int) -> list[float]:
        """Round values within, at most so many."""
        if self.log:
            first, last = math.ceil(self.low), math.floor(self.high)
            step = max(1, -(-(last - first + 1) // most))
            return [10.0**n for n in range(first, last + 1, step)]
        power = 10 ** math.floor(math.log10((self.high - self.low) / most))
        step = next(by * power for by in (1, 2, 2.5, 5, 10, 20) if (self.high - self.low) / (by * power) <= most)
        return [n * step for n in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def _grid(x: _Axis, y: _Axis, percent: bool) -> str:
    parts = []
    for value in y.ticks(4):
        place = float(y(np.array(value)))
        parts.append(f'<path class="grid" d="M{_LEFT} {place:.1f}H{_RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{place + 4:.1f}" text-anchor="end">{number(value, percent)}</text>')
    for value in x.ticks(4):
        if value == round(value):
            place = float(x(np.array(value)))
            anchor = "end" if place > _RIGHT - 16 else "middle"
            parts.append(f'<text x="{place:.1f}" y="{_BOTTOM + 16}" text-anchor="{anchor}">{value:,.0f}</text>')
    return "".join(parts)


def _drawn(curve: Curve, colour: str, x: _Axis, y: _Axis) -> str:
    few = thinned(curve.steps, curve.values)
    places, parts = x(few.steps), []
    finite = np.isfinite(few.means)
    for piece in np.split(np.arange(len(places)), np.flatnonzero(np.diff(finite)) + 1):
        if not finite[piece[0]]:
            continue
        if few.means is not few.least and len(piece) > 1:
            around = [*zip(places[piece], y(few.greatest[piece]), strict=True)]
            around += [*zip(places[piece], y(few.least[piece]), strict=True)][::-1]
            parts.append(f'<path d="{_path(around)}Z" fill="{colour}" opacity=".2"/>')
        line = [*zip(places[piece], y(few.means[piece]), strict=True)]
        parts.append(f'<path d="{_path(line)}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    parts += [
        f'<circle cx="{places[n]:.1f}" cy="{float(y(few.means[n])):.1f}" r="2.6" fill="{colour}">'
        f"<title>{escape(curve.name)} {number(float(few.means[n]))} at step {few.steps[n]:,.0f}</title></circle>"
        for n in (np.flatnonzero(finite) if len(places) <= 60 else np.flatnonzero(finite)[-1:])
    ]
    return "".join(parts)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _last(curve: Curve, percent: bool) -> str:
    return number(float(curve.values[-1]), percent)


def number(value: float, percent: bool = False) -> str:
    """A value in few digits.

    Examples:
        >>> number(0.00023), number(1234.5), number(-1.375), number(0.99996), number(0.125, percent=True)
        ('2.3e−4', '1,234', '−1.38', '0.99996', '12 %')
    """
    if not math.isfinite(value):
        return "–"
    if percent:
        return f"{value * 100:.3g} %" if 0 < abs(value) < 0.01 else f"{value:.0%}".replace("%", " %")
    if 0 < abs(value) < 1e-3:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}".replace("-", "−")
    if 0.99 < abs(value) < 1:  # as momentum
        return f"{value:.5f}".rstrip("0").replace("-", "−")
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")
