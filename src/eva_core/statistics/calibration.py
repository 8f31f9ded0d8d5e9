"""Interval of a calibration error. Free of torch.

The error is the sum over bins of |gap|, a gap being the share of samples that are in the bin and right less the sum of
their confidences over all samples. Its estimate is too large, as noise never takes from an absolute value: that of a
perfectly calibrated model on 300 images is about 0.05. Percentiles of a bootstrap have the noise twice, and miss.

So candidates for the true error are tested: gaps in the proportions of those that were seen, scaled to the candidate,
with the noise of the bootstrap, that is drawn gaps less seen ones. The interval holds the candidates under which an
error as large, and one as small, as the seen one are each found in 2.5 % of the draws at least. It begins at 0 where a
calibrated model would often look as bad. Source: Carpenter, Test inversion bootstrap confidence intervals, JRSS B 61,
1999; of the bias: Kumar et al., Verified uncertainty calibration, NeurIPS 2019.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Gaps = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Gaps of one run under weights of its samples: (d, N) -> (d, bins)."""

_CANDIDATES = 256
_TAIL = 0.025


def calibration_interval(
    seen: NDArray[np.float64], drawn: NDArray[np.float64], runs: NDArray[np.integer]
) -> list[float] | None:
    """95 % interval of the calibration error of one run on new samples.

    Args:
        seen: Gaps of every run, (R, bins).
        drawn: Gaps under every draw, (draws, bins).
        runs: The run of each draw, (draws,).

    Returns:
        [lo, hi]; None where nothing was drawn.
    """
    noise = drawn - seen[runs]
    if not len(drawn) or np.isnan(noise).any():
        return None
    errors = np.abs(seen).sum(axis=1)  # (R,)
    proportions = (seen / np.where(errors > 0, errors, 1)[:, None])[runs]
    errors = errors[runs]
    # an error above this is never drawn as small as the seen one
    highest = min(1.0, float((errors + np.abs(noise).sum(axis=1)).max()))
    candidates = np.linspace(0, highest, _CANDIDATES)
    plausible = []
    for candidate in candidates:
        noisy = np.abs(candidate * proportions + noise).sum(axis=1)
        as_large, as_small = np.mean(noisy >= errors - 1e-12), np.mean(noisy <= errors + 1e-12)
        plausible.append(min(as_large, as_small) >= _TAIL)
    inside = candidates[plausible]
    if not len(inside):  # two runs far apart, or no noise at all: what was seen
        return [float(errors.min()), float(errors.max())]
    return [float(inside[0]), float(inside[-1])]
