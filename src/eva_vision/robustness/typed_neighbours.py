"""Nearest neighbours by cosine among the images of other slides, and those that share exactly one of class and site.

Names are those of PathoROB: SO is the same class at another site, OS another class at the same site. Images of the same
group, patient or slide, are no neighbours. Distances are looked for block by block: no matrix of all pairs is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 2**23  # similarities at a time, 32 MB
_GATHERED = 2**22  # numbers of embeddings that are multiplied once more at a time
_COPY = 1e-12  # distance of two embeddings that are one
_SPARE = 4  # more candidates than are wanted: float32 may have their order wrong


@dataclass(frozen=True)
class Labels:
    """What is known of N images: numbers of class, site and group, int64 (N,) each."""

    classes: NDArray[np.int64]
    sites: NDArray[np.int64]
    groups: NDArray[np.int64]

    def of(self, rows: NDArray[np.intp]) -> "Labels":
        """The labels of some rows (n,)."""
        return Labels(self.classes[rows], self.sites[rows], self.groups[rows])


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of N images, nearest first, as cosine distances in float64; infinite where there are fewer.

    Attributes:
        rows: Numbers of the k nearest, -1 where there are fewer, (N, k).
        distances: How far they are, (N, k).
        so: Distances to the m nearest of the same class at another site, (N, m).
        os: Distances to the m nearest of another class at the same site, (N, m).
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    so: NDArray[np.float64]
    os: NDArray[np.float64]


def neighbours(x: NDArray[np.float32], labels: Labels, k: int, m: int) -> Neighbours:
    """Find the nearest neighbours of each image.

    Args:
        x: Embeddings, (N, D).
        labels: Their labels.
        k: How many neighbours of any kind.
        m: How many of SO, and of OS.
    """
    unit = F.normalize(torch.from_numpy(x), eps=1e-12)
    norms = torch.cat([part.double().norm(dim=1) for part in unit.split(4096)])  # 1 but for rounding
    classes, sites, groups = (torch.from_numpy(v) for v in (labels.classes, labels.sites, labels.groups))
    parts: list[list[Tensor]] = []
    for block in _blocks(len(x)):
        similarity = unit[block] @ unit.T  # (B, N)
        similarity.masked_fill_(groups[block, None] == groups, -torch.inf)
        same_class, same_site = classes[block, None] == classes, sites[block, None] == sites
        rows, near = _nearest(similarity, unit, norms, block, k)
        so = _nearest(similarity.masked_fill(~same_class | same_site, -torch.inf), unit, norms, block, m)[1]
        os = _nearest(similarity.masked_fill_(same_class | ~same_site, -torch.inf), unit, norms, block, m)[1]
        parts.append([rows, near, so, os])
    return Neighbours(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def _blocks(n: int) -> Iterator[slice]:
    size = max(1, _BLOCK // max(1, n))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _nearest(similarity: Tensor, unit: Tensor, norms: Tensor, block: slice, k: int) -> tuple[Tensor, Tensor]:
    """Numbers (B, k) and distances (B, k) of the k most similar, their order decided in float64."""
    values, rows = similarity.topk(min(k + _SPARE, similarity.shape[1]))
    queries, distances = unit[block], torch.empty(rows.shape, dtype=torch.float64)
    size = max(1, _GATHERED // (rows.shape[1] * unit.shape[1]))
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        product = unit[rows[part]].double() @ queries[part, :, None].double()  # (b, k, D) @ (b, D, 1)
        distances[part] = 1 - product[..., 0] / (norms[rows[part]] * norms[block][part, None])
    distances[distances < _COPY] = 0
    distances.masked_fill_(values == -torch.inf, torch.inf)
    distances, order = distances.sort(stable=True)
    rows = rows.gather(1, order).masked_fill_(distances == torch.inf, -1)
    short = max(0, k - rows.shape[1])
    return F.pad(rows[:, :k], (0, short), value=-1), F.pad(distances[:, :k], (0, short), value=torch.inf)
