"""Whether embeddings of the same tissue stay when stain or scanner change: cosine and retrieval across pairs of slides.

Source: owkin/plism-benchmark (Filiot et al. 2025, arXiv 2501.16239), which computes in float16.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

TOP = 10
ALL = "all"
KINDS = ("scanner", "stain", "both", ALL)
"""What differs between the slides of a pair; `all` are all pairs."""
_ROWS = 1024


def kind_of(a: tuple[str, str], b: tuple[str, str]) -> str:
    """What differs between two slides of a stain and a scanner each.

    Examples:
        >>> kind_of(("GIV", "AT2"), ("GIV", "P")), kind_of(("GIV", "AT2"), ("HR", "P"))
        ('scanner', 'both')
    """
    return "scanner" if a[0] == b[0] else "stain" if a[1] == b[1] else "both"


def measured(
    x: NDArray[np.float32],
    slides: Mapping[str, tuple[str, str]],
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, NDArray[np.float64]]:
    """Mean cosine of a tile to itself and top-10 accuracy of each pair of slides.

    Top-10 accuracy is the share of tiles whose counterpart is among the 10 most similar of all other tiles of both
    slides, mean of the two directions.

    Args:
        x: Embeddings of the slides in order, their tiles in one order, (S, T, D).
        slides: Stain and scanner of each.
        device: Where products are computed.
        progress: Called with (pairs done, all pairs).
    Returns:
        (pairs, 2) by what differs, as `KINDS` has it.
    """
    own = [_similar_within(_unit(slide, device)) for slide in x]
    facts, total = list(slides.values()), len(x) * (len(x) - 1) // 2
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for number, (a, b) in enumerate(combinations(range(len(x)), 2)):
        if b == a + 1:
            left = _unit(x[a], device)
        values = _pair(left, _unit(x[b], device), own[a], own[b])
        for kind in (kind_of(facts[a], facts[b]), ALL):
            found[kind].append(values)
        progress(number + 1, total)
    return {kind: np.array(values) for kind, values in found.items() if values}


def _unit(slide: NDArray[np.float32], device: str) -> Tensor:
    return F.normalize(torch.from_numpy(slide).to(device))


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _ROWS, n)) for start in range(0, n, _ROWS))


def _similar_within(unit: Tensor) -> Tensor:
    """Similarities of each tile to the most similar others of its slide, (T, up to 10)."""
    parts = []
    for rows in _blocks(len(unit)):
        similarity = unit[rows] @ unit.T
        similarity[torch.arange(len(similarity)), torch.arange(rows.start, rows.stop)] = -torch.inf
        parts.append(similarity.topk(min(TOP, len(unit))).values)
    return torch.cat(parts)


def _pair(a: Tensor, b: Tensor, own_a: Tensor, own_b: Tensor) -> tuple[float, float]:
    """Mean cosine and top-10 accuracy: a counterpart is found when fewer than 10 others are more similar."""
    itself = (a * b).sum(1)  # (T,)
    above_a, above_b = ((own > itself[:, None]).sum(1) for own in (own_a, own_b))
    for rows in _blocks(len(a)):
        similarity = a[rows] @ b.T  # (R, T)
        similarity[torch.arange(len(similarity)), torch.arange(rows.start, rows.stop)] = -torch.inf  # as it rounds
        above_a[rows] += (similarity > itself[rows, None]).sum(1)
        above_b += (similarity > itself).sum(0)
    accuracy = ((above_a < TOP).double().mean() + (above_b < TOP).double().mean()) / 2
    return float(itself.double().mean()), float(accuracy)
