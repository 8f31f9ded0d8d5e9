"""Training sets of PathoROB's average performance drop: images of each centre and class, centres by name.

Source: pathorob/apd/utils.py of bifold-pathomics/PathoROB @ 46594e9.
"""

from collections.abc import Callable

import numpy as np

from eva_vision.robustness.contracts import Schedule


def camelyon() -> Schedule:
    """Two centres and two classes: from 7 slides of each to 14 of one, 300 patches of a slide."""
    return _schedule(8, (2, 2), 14, 300, lambda s, site, label: 7 + s if site != label else 7 - s)


def tcga() -> Schedule:
    """Four centres and four classes: from 2 slides of each to 8 of one centre a class, 30 patches of a slide."""

    def slides(s: int, site: int, label: int) -> int:
        if site == label:
            return s + 2
        if site + label == 3:
            return 1 if s % 2 else 2 if s < 3 else 0
        return 2 if s < 2 else 1 if s < 5 else 0

    return _schedule(7, (4, 4), 8, 30, slides)


def tolkach_esca() -> Schedule:
    """Two centres and six classes: from 3 cases of each to 6 of one centre, 100 patches of a case."""
    return _schedule(4, (2, 6), 6, 100, lambda s, site, label: 3 + s if (site == 0) == (label >= 3) else 3 - s)


def _schedule(
    steps: int, shape: tuple[int, int], most: int, patches: int, slides: Callable[[int, int, int], int]
) -> Schedule:
    """All training sets; a slide more than the most that teach is kept, of which an image in `most` chooses C."""
    splits = [[[slides(s, i, j) * patches for j in range(shape[1])] for i in range(shape[0])] for s in range(steps)]
    return Schedule(np.array(splits), np.full(shape, most + 1), most)
