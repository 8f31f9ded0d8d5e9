"""Retrieval of slides without training: the most similar patients, each with one vote, the query's own left out."""

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from eva_core.contracts.head import Embedded, FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.heads.retrieval import first, group_numbers, marks_of, measured, rounded, votes
from eva_vision.slide_level.classification.outcome import Classes
from eva_vision.slide_level.contracts import BagData, BagHead, Bags
from eva_vision.slide_level.protocol import SlideLevel

_ITERATIONS = 10  # of k-means; a patch stands for a cluster, so its exact optimum is of no consequence


class SlideRetrieval(BagHead):
    """The k most similar patients among train, each known by its most similar sample.

    The class is that of their majority, of equals the one with the nearest patient; the query's own patient is left
    out. Results state `precision_at_1` and so on, and `majority_at_3` and so on, as `Retrieval` of images does.
    """

    tasks: ClassVar = frozenset({"slide_classification"})

    def __init__(self, k: int, at: tuple[int, ...]) -> None:
        if k < 1:
            raise UsageError(f"Expected argument k to be at least 1, but got {k}.")
        if not at or min(at) < 1:
            raise UsageError(f"Expected argument at to list numbers of at least 1, but got {list(at)}.")
        self.k, self.at = k, tuple(at)

    @abstractmethod
    def described(self, bags: Bags) -> Tensor:
        """What is compared of each sample, float32 (N, ...)."""

    @abstractmethod
    def similarity(self, gallery: Tensor, queries: Tensor) -> Tensor:
        """How similar each query is to each sample of the gallery: (N, ...) and (n, ...) -> (n, N)."""

    @override
    def runs(self, protocol: Protocol, section: SlideLevel) -> range:
        """One: nothing is random."""
        del protocol, section
        return range(1)

    @override
    def fit(self, data: BagData, protocol: Protocol) -> list[FittedRun]:
        assert isinstance(data.outcome, Classes)  # `tasks` says so
        held = params = self._gallery(data.train, data.outcome.classes)
        value = math.nan
        if len(data.select):
            value = data.outcome.value(self.outputs(held, data.select), data.select.targets)
        if len(data.select) and protocol.selection == "holdout":  # else `select` is the split that is reported
            more = self._gallery(data.select, data.outcome.classes)
            params = {name: torch.cat([held[name], more[name]]) for name in held}
        data.progress(1, 1)
        return [FittedRun(data.runs[0], params, params, value, {"k": self.k}, held)]

    @override
    def outputs(self, params: dict[str, Tensor], bags: Bags) -> Tensor:
        classes, there = self._retrieved(params, bags, self.k)
        logits = votes(classes, there)
        return logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits  # one output says two classes

    @override
    def measures(self, params: dict[str, Tensor], bags: Bags) -> dict[str, Tensor]:
        return measured(*self._retrieved(params, bags, max(self.at)), bags.targets, self.at)

    def _gallery(self, bags: Bags, classes: int) -> dict[str, Tensor]:
        return {
            "gallery": self.described(bags),
            "classes": F.one_hot(bags.targets, classes).float(),
            "groups": marks_of(_named(bags)),
        }

    def _retrieved(self, params: dict[str, Tensor], bags: Bags, k: int) -> tuple[Tensor, Tensor]:
        """Classes one-hot of the nearest patients, (n, k, C), and which of them are there, (n, k)."""
        similarity = rounded(self.similarity(params["gallery"], self.described(bags)))
        theirs, own = group_numbers(params["groups"], marks_of(_named(bags)))
        rows, there = nearest_patients(similarity, theirs, own, k)
        return params["classes"][rows], there


def _named(bags: Bags) -> Embedded:
    return Embedded(bags.means, bags.targets, bags.groups)


def nearest_patients(similarity: Tensor, theirs: Tensor, own: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The most similar sample of each of the k most similar patients.

    Args:
        similarity: Similarity of each query to each sample of the gallery, (n, N); of equals the first counts.
        theirs: Number of the patient of each sample of the gallery, (N,); -1 where unknown: each is one of its own.
        own: Number of the patient of each query, (n,), which is left out; -1 where unknown.
        k: How many patients; all of a gallery that has fewer.
    Returns:
        Samples of the gallery, the most similar first, and which of them are there, (n, k) both.
    """
    patients = torch.where(theirs < 0, -1 - torch.arange(len(theirs)), theirs)
    k = min(k, len(patients.unique()))
    rows, there = torch.zeros(len(own), k, dtype=torch.int64), torch.zeros(len(own), k, dtype=torch.bool)
    for query, (of_query, patient) in enumerate(zip(similarity, own.tolist(), strict=True)):
        order = first(of_query[None], len(of_query))[0].numpy()
        others = order[(patients.numpy()[order] != patient) | (patient < 0)]
        places = np.sort(np.unique(patients.numpy()[others], return_index=True)[1])[:k]
        rows[query, : len(places)] = torch.from_numpy(others[places])
        there[query, : len(places)] = True
    return rows, there


class MeanRetrieval(SlideRetrieval):
    """Retrieval of patients by the cosine of the mean embeddings of their samples.

    Args:
        k: How many patients decide.
        at: Numbers of patients that precision and majority are stated for.
    """

    def __init__(self, k: int = 5, at: tuple[int, ...] = (1, 3, 5)) -> None:
        super().__init__(k, at)

    @override
    def described(self, bags: Bags) -> Tensor:
        return bags.means

    @override
    def similarity(self, gallery: Tensor, queries: Tensor) -> Tensor:
        return F.normalize(queries.double()) @ F.normalize(gallery.double()).T


class MosaicRetrieval(SlideRetrieval):
    """Retrieval of patients by small mosaics of their samples.

    A mosaic is a few patches that stand for all: those nearest to the centres of k-means of the embeddings. Two samples
    are as similar as the median over the patches of the query's mosaic of the greatest cosine to any patch of the
    other's. Source: Kalra et al. 2020 (Yottixel, Medical Image Analysis 65), section 3, whose mosaics are clustered by
    colour and place, and whose features are barcodes: this is like it, and not the same.

    Args:
        k: How many patients decide.
        at: Numbers of patients that precision and majority are stated for.
        patches: Size of a mosaic; a sample with fewer patches has all of them.
    """

    def __init__(self, k: int = 5, at: tuple[int, ...] = (1, 3, 5), patches: int = 16) -> None:
        super().__init__(k, at)
        if patches < 1:
            raise UsageError(f"Expected argument patches to be at least 1, but got {patches}.")
        self.patches = patches

    @override
    def described(self, bags: Bags) -> Tensor:
        """Mosaics (N, patches, D); the first patch again where a sample has fewer, which changes no greatest cosine."""
        mosaics = [mosaic(bags.read(number), self.patches) for number in range(len(bags))]
        if not mosaics:
            return torch.zeros(0, self.patches, bags.means.shape[1])
        return torch.stack([torch.cat([m, m[:1].expand(self.patches - len(m), -1)]) for m in mosaics])

    @override
    def similarity(self, gallery: Tensor, queries: Tensor) -> Tensor:
        samples, patches, features = gallery.shape
        flat = gallery.reshape(-1, features).double()
        rows = [_without_repeats(q).double() @ flat.T for q in queries]  # (m, N * patches) each
        return torch.stack([row.reshape(-1, samples, patches).amax(2).quantile(0.5, dim=0) for row in rows])


def _without_repeats(patches: Tensor) -> Tensor:
    """A mosaic without what fills it up: the repeats of the first patch at its end, (m, D)."""
    repeats = (patches == patches[:1]).all(1).flip(0).long().cumprod(0).sum()
    return patches[: max(1, len(patches) - int(repeats))]


def mosaic(x: Tensor, patches: int) -> Tensor:
    """Unit embeddings of the patches that stand for a bag: deterministic, (n, D) -> (at most patches, D).

    K-means on the sphere starts at the patch nearest to the mean, then always at the one farthest from those before.
    """
    unit = F.normalize(x.float())
    if len(unit) <= patches:
        return unit
    chosen = [int((unit @ unit.mean(0)).argmax())]
    nearest = unit @ unit[chosen[0]]
    for _ in range(patches - 1):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, unit @ unit[chosen[-1]])
    centres = unit[chosen]
    for _ in range(_ITERATIONS):
        of = (unit @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, of, unit)
        centres = torch.where((of.bincount(minlength=patches) > 0)[:, None], F.normalize(sums), centres)
    return unit[(unit @ centres.T).argmax(0)]
