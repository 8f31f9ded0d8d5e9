"""Retrieval without training: the most similar training images of other patients, and what their majority is."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from eva_core.classification.metrics import selection_metric
from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.heads.neighbours import as_logits

_SIMILARITIES = 2**24  # at a time, 128 MB
_DIGITS = 12  # of a cosine in float64
_NEARER = 0.01  # what the nearer half of a tie weighs more, in votes


class Retrieval(Head):
    """The k most similar images by cosine among train, those of the query's own patient or slide left out.

    The class is that of the majority of the k, of equals the one with the nearest image. Results state, with intervals,
    `precision_at_1`, `precision_at_3` and so on: the share of images of the query's class among so many, mean over
    queries; and `majority_at_3` and so on: the share of queries of which the majority is right. Images with equal
    cosines, as copies have, come in the order of train. Of a gallery with fewer images all count; a query to which no
    image is left has precision 0 and no class.

    Nothing is chosen: under `holdout` selection, where a part of train is held out, the gallery is all of train.
    Source: Kalra et al. 2020 (Yottixel, Medical Image Analysis 65) for majorities at 1, 3 and 5.

    Args:
        k: How many decide.
        at: Numbers of images that precision and majority are stated for.
    """

    def __init__(self, k: int = 5, at: tuple[int, ...] = (1, 3, 5, 10)) -> None:
        if k < 1:
            raise UsageError(f"Expected argument k to be at least 1, but got {k}.")
        if not at or min(at) < 1:
            raise UsageError(f"Expected argument at to list numbers of at least 1, but got {list(at)}.")
        self.k, self.at = k, tuple(at)

    @override
    def runs(self, protocol: Protocol) -> range:
        """One, as nothing is random, unless each run draws its own few shots."""
        return range(protocol.runs if protocol.shots else 1)

    @override
    def fit(self, data: FittingData, protocol: Protocol) -> list[FittedRun]:
        held = params = gallery([data.train], data.classes)
        value = selection_metric(data.metric)(self.answers(held, data.select)[None], data.select.y).item()
        if protocol.selection == "holdout":  # else `select` is the split that is reported
            params = gallery([data.train, data.select], data.classes)
        data.progress(1, 1)
        return [FittedRun(data.runs[0], params, params, value, {"k": self.k}, held)]

    @override
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        return self.answers(params, Embedded(x, torch.zeros(len(x), dtype=torch.int64)))

    @override
    def answers(self, params: dict[str, Tensor], data: Embedded) -> Tensor:
        """As `logits`, with images of the query's own patient or slide left out where it is known."""
        nearest, there = retrieved(params, data, self.k)
        return votes(params["classes"][nearest], there)

    @override
    def measures(self, params: dict[str, Tensor], data: Embedded) -> dict[str, Tensor]:
        nearest, there = retrieved(params, data, max(self.at))
        return measured(params["classes"][nearest], there, data.y, self.at)


def gallery(parts: Sequence[Embedded], classes: int) -> dict[str, Tensor]:
    """Embeddings (N, D), classes one-hot (N, C), and marks of the patients or slides (N, 2)."""
    return {
        "gallery": torch.cat([part.x for part in parts]),
        "classes": F.one_hot(torch.cat([part.y for part in parts]), classes).float(),
        "groups": torch.cat([marks_of(part) for part in parts]),
    }


def marks_of(data: Embedded) -> Tensor:
    """What tells patients and slides apart by their names, in any dataset; zeros where none is known.

    Returns:
        Two whole numbers below 2^24 for each sample, which float32 holds exactly, (N, 2).
    """
    if data.groups is None:
        return torch.zeros(len(data), 2)
    names, of = np.unique(data.groups.astype(str), return_inverse=True)
    digests = [hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() if name else bytes(6) for name in names]
    pairs = [(int.from_bytes(d[:3], "big"), int.from_bytes(d[3:6], "big")) for d in digests]
    return torch.tensor(pairs, dtype=torch.float32).reshape(-1, 2)[torch.from_numpy(of)]


def group_numbers(theirs: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers for marks of patients, equal where these are, -1 where they are unknown: (N, 2), (n, 2) -> (N,), (n,)."""
    marks = torch.cat([theirs, own])
    numbers = torch.unique(marks, dim=0, return_inverse=True)[1].masked_fill((marks == 0).all(1), -1)
    return numbers[: len(theirs)], numbers[len(theirs) :]


def rounded(cosine: Tensor) -> Tensor:
    """Cosines in float64 to twelve digits: copies tie, whatever their place in the gallery does to the last bits.

    Float32 would not do: all cosines of colours lie so near to 1 that most would tie.
    """
    return torch.round(cosine, decimals=_DIGITS)


def retrieved(params: dict[str, Tensor], data: Embedded, k: int) -> tuple[Tensor, Tensor]:
    """Rows of the k most similar images of the gallery, the most similar first, and which of them are there.

    Args:
        params: From `gallery`.
        data: The queries.
        k: How many; all of a gallery that has fewer.
    Returns:
        (n, k) both; an image of the query's own patient or slide is not there.
    """
    theirs, own = group_numbers(params["groups"], marks_of(data))
    size = len(params["gallery"])
    rows, there, others = [], [], F.normalize(params["gallery"].double()).T
    step = max(1, _SIMILARITIES // size)
    for x, group in zip(torch.split(data.x, step), torch.split(own, step), strict=True):
        cosine = rounded(F.normalize(x.double()) @ others)
        cosine[(group[:, None] == theirs) & (theirs >= 0)] = -torch.inf
        rows.append(first(cosine, min(k, size)))
        there.append(cosine.gather(1, rows[-1]) > -torch.inf)
    return torch.cat(rows), torch.cat(there)


def first(values: Tensor, k: int) -> Tensor:
    """Columns of the k greatest values of each row, the greatest first, of equals the first: (n, N) -> (n, k)."""
    top, columns = values.topk(k)
    tied = (values >= top[:, -1:]).sum(1) > k  # `topk` takes any of them
    for row in tied.nonzero()[:, 0].tolist():
        above, equal = (found.nonzero()[:, 0] for found in (values[row] > top[row, -1], values[row] == top[row, -1]))
        columns[row] = torch.cat([above, equal])[:k]
    columns = columns.sort(1).values
    return columns.gather(1, values.gather(1, columns).argsort(dim=1, descending=True, stable=True))


def votes(classes: Tensor, there: Tensor) -> Tensor:
    """Logits of the shares of votes, of equals more for the class with the nearest image.

    Args:
        classes: Classes one-hot of what was retrieved, the nearest first, (n, k, C).
        there: Which of it counts, (n, k).
    Returns:
        Logits (n, C); equal where nothing counts.
    """
    rank = torch.arange(classes.shape[1], dtype=torch.float64)
    weight = there * (1 + _NEARER * 0.5**rank)  # the first of a class outweighs all later ones of others
    total = (classes.double() * weight[..., None]).sum(1)
    shares = total / total.sum(1, keepdim=True)
    return as_logits(torch.where(there.any(1)[:, None], shares, 1 / classes.shape[2]))


def measured(classes: Tensor, there: Tensor, y: Tensor, at: Sequence[int]) -> dict[str, Tensor]:
    """Precision and majority at several k of each query.

    Args:
        classes: Classes one-hot of what was retrieved, the nearest first, (n, k, C).
        there: Which of it counts, (n, k).
        y: Classes of the queries, (n,).
        at: Numbers of images.
    Returns:
        float64 (n,) by name; the majority of one image is its class, and is not stated twice.
    """
    hits = classes.gather(2, y[:, None, None].expand(-1, classes.shape[1], 1))[..., 0].double() * there
    values = {}
    for k in sorted(set(at)):
        values[f"precision_at_{k}"] = hits[:, :k].sum(1) / there[:, :k].sum(1).clamp(min=1)
        if k > 1:
            right = votes(classes[:, :k], there[:, :k]).argmax(1) == y
            values[f"majority_at_{k}"] = (right & there.any(1)).double()
    return values
