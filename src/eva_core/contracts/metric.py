"""What a metric means: which way is better, where it ends, what guessing gives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict


@dataclass(frozen=True)
class Metric:
    """Facts of a metric that intervals, ranks and sentences need.

    Attributes:
        higher_is_better: Else the lowest value is the best.
        bounds: Least and greatest value; infinite where there is none.
        chance: Value of a model that knows nothing; None where that depends on the data.
        biased: Noise can only raise it: a resampled value is too large, and so is the value itself.
    """

    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    chance: float | None = None
    biased: bool = False

    @property
    def sign(self) -> int:
        """What makes the greatest value of its product with a score the best: 1 or -1."""
        return 1 if self.higher_is_better else -1

    @property
    def best(self) -> float:
        """The best value there is; infinite where there is no end."""
        return self.bounds[1] if self.higher_is_better else self.bounds[0]

    def gain(self, value: float, baseline: float) -> float | None:
        """Share of what could be gained over a baseline; None where that has no end, or nothing is left to gain.

        Examples:
            >>> Metric().gain(0.75, baseline=0.5)
            0.5
            >>> Metric(higher_is_better=False).gain(0.125, baseline=0.25)
            0.5
        """
        left = self.sign * (self.best - baseline)
        return self.sign * (value - baseline) / left if 0 < left < math.inf else None


class MetricFacts(TypedDict):
    """What results.json holds of a metric beside its value; a bound that is not there is null."""

    higher_is_better: bool
    bounds: list[float | None]
    chance: float | None


def recorded(metric: Metric) -> MetricFacts:
    """The facts of a metric for results.json."""
    bounds = [bound if math.isfinite(bound) else None for bound in metric.bounds]
    return {"higher_is_better": metric.higher_is_better, "bounds": bounds, "chance": metric.chance}


def read_metric(main: Mapping[str, Any]) -> Metric:
    """The metric of a result, from the `main` of its results.json."""
    low, high = main["bounds"]
    bounds = (-math.inf if low is None else low, math.inf if high is None else high)
    return Metric(main["higher_is_better"], bounds, main["chance"])
