"""How much an embedding tells of where a slide was made, beside what is on it: for datasets whose samples carry a site.

Both numbers come from the nearest neighbours by cosine, those of the same patient or slide left out.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KS = (1, 3, 5, 10, 20, 50)
_ROWS = 1024


@dataclass(frozen=True)
class Confounds:
    """How the embeddings of one split mix class and site.

    Attributes:
        robustness_index: SO / (SO + OS): among neighbours that share exactly one of class and site, the share with the
            class. 1 is robust, below 0.5 the site weighs more than the biology. None where there is no such neighbour.
        k: Number of neighbours, the one of `KS` that predicts the class best.
        class_accuracy: Balanced accuracy of the class by k neighbours.
        site_accuracy: Balanced accuracy of the site by the same neighbours.
        sites: Number of sites; 1 / sites is chance.
    """

    robustness_index: float | None
    k: int
    class_accuracy: float
    site_accuracy: float
    sites: int


def confounds(x: Tensor, targets: Tensor, sites: Tensor, groups: Tensor) -> Confounds | None:
    """Measure how embeddings mix class and site.

    Args:
        x: Embeddings, (N, D).
        targets: Classes, (N,).
        sites: Site numbers, (N,).
        groups: Patient or slide numbers, (N,): neighbours of the same group do not count.
    Returns:
        None where there is one site, or no neighbour of another group.
    Source: Kömen et al. 2025 (PathoROB), robustness index.
    """
    names = sites.unique()
    if len(names) < 2 or len(groups.unique()) < 2:
        return None
    nearest = _nearest(x, groups, max(KS))  # (N, k), -1 where there is none
    ks = [k for k in KS if k <= nearest.shape[1]]
    accuracies = {k: vote(nearest[:, :k], targets) for k in ks}
    k = max(ks, key=lambda k: (accuracies[k], -k))
    real = nearest[:, :k] >= 0
    same_class = (targets[nearest[:, :k]] == targets[:, None]) & real
    same_site = (sites[nearest[:, :k]] == sites[:, None]) & real
    so, os = int((same_class & ~same_site & real).sum()), int((~same_class & same_site & real).sum())
    index = so / (so + os) if so + os else None
    _, numbered = sites.unique(return_inverse=True)
    return Confounds(index, k, accuracies[k], vote(nearest[:, :k], numbered), len(names))


def _nearest(x: Tensor, groups: Tensor, most: int) -> Tensor:
    unit = F.normalize(x)
    most = min(most, len(x) - 1)
    parts = []
    for rows, group in zip(unit.split(_ROWS), groups.split(_ROWS), strict=True):
        similarity = torch.where(group[:, None] == groups[None], -torch.inf, rows @ unit.T)
        values, numbers = similarity.topk(most)
        parts.append(torch.where(values == -torch.inf, -1, numbers))
    return torch.cat(parts)


def vote(nearest: Tensor, labels: Tensor) -> float:
    """Balanced accuracy of the majority of the neighbours, the smallest label of equals."""
    count = int(labels.max()) + 1
    votes = (F.one_hot(labels[nearest.clamp(min=0)], count) * (nearest >= 0)[..., None]).sum(1)  # (N, count)
    hits = (votes.argmax(1) == labels).float()
    return float(torch.stack([hits[labels == label].mean() for label in labels.unique()]).mean())
