"""Made-up patients whose outcomes depend on what their tissue is made of, and on nothing else; sites have stains."""

from dataclasses import dataclass

import numpy as np

from eva_vision.synthetic.patches import Stain
from eva_vision.synthetic.patterns import CLASSES

VERSION = 2
"""Raise it whenever patients or slides change: it is part of the name of the folder that they lie in."""
SITES = ("north", "south")
_SHEETS = CLASSES.index("sheets")
_CENSORED = 0.3
_STAINS = (
    ((0.60, 0.72, 0.34), (0.16, 0.86, 0.48), 0.03),
    ((0.68, 0.62, 0.38), (0.26, 0.80, 0.54), 0.06),
)
"""Optical densities of haematoxylin and eosin, and of the background, at each site: apart, as laboratories are."""


@dataclass(frozen=True)
class Patient:
    """One made-up patient.

    Attributes:
        share: Share of the tissue that is sheets of cells, which decides the outcomes.
        label: 1 where that is above the middle.
        value: Ten times the share, with some noise.
        time: Until the event, or the end of follow-up; the hazard rises with the share.
        event: Whether it happened.
        site: Number of the site, and so of the stain.
    """

    share: float
    label: int
    value: float
    time: float
    event: bool
    site: int

    @property
    def shares(self) -> list[float]:
        """Share of each pattern of tissue, in the order of `CLASSES`."""
        return [
            self.share if kind == _SHEETS else (1 - self.share) / (len(CLASSES) - 1) for kind in range(len(CLASSES))
        ]


def planted_patients(count: int, confounded: float, seed: int) -> list[Patient]:
    """Make patients up.

    Args:
        count: How many.
        confounded: From 0, site and label are independent, to 1: the site tells the label.
        seed: Decides all; the same seed gives the same tissue and outcomes whatever `confounded` is.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 2)
    shares = np.where(labels, rng.uniform(0.55, 0.9, count), rng.uniform(0.05, 0.4, count))
    values = 10 * shares + rng.normal(0, 0.5, count)
    times = rng.exponential(np.exp(-4 * (shares - 0.5)))
    ends = rng.exponential(np.quantile(times, 1 - _CENSORED) / _CENSORED, count)
    draws, coins = rng.random(count), rng.integers(0, 2, count)
    sites = np.where(draws < confounded, labels, coins)
    return [
        Patient(float(share), int(label), float(value), float(min(time, end)), bool(time <= end), int(site))
        for share, label, value, time, end, site in zip(shares, labels, values, times, ends, sites, strict=True)
    ]


def site_stain(site: int, seed: int) -> Stain:
    """The stain of a slide of a site: that of the site, a little stronger or weaker."""
    haematoxylin, eosin, background = _STAINS[site]
    rng = np.random.default_rng((seed, site))
    vectors = np.array([haematoxylin, eosin])
    vectors = vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True)) * np.exp(rng.normal(0, 0.06, (2, 1)))
    return Stain(vectors.astype(np.float32), np.full(3, background, np.float32))
