"""Heads that learn nothing: the nearest neighbours, and the nearest of a few class means."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from eva_core.classification.metric_names import METRICS
from eva_core.classification.metrics import selection_metric
from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.evaluation.holdout import few

_TEMPERATURE = 0.07
_SIMILARITIES = 2**26  # at a time, 256 MB: the bank of pcam has 262,144 rows
_FLOOR = 1e-6  # share of a class without a vote


class Knn(Head):
    """Votes of the k most similar training images by cosine, weighted by exp(similarity / 0.07).

    k is chosen by the metric on `select`, the smallest of equals; under `holdout` selection, where `select` is a part
    of train, the bank is then both. Source: Wu et al. 2018, section 3.4; DINO (Caron et al. 2021) evaluates so.

    Args:
        k: Numbers of neighbours to try.
    """

    def __init__(self, k: tuple[int, ...] = (1, 3, 5, 10, 20, 50, 100)) -> None:
        if not k or min(k) < 1:
            raise UsageError(f"Expected argument k to list numbers of at least 1, but got {list(k)}.")
        self.k = tuple(k)

    @override
    def runs(self, protocol: Protocol) -> range:
        """One, as nothing is random, unless each run draws its own few shots."""
        return range(protocol.runs if protocol.shots else 1)

    @override
    def fit(self, data: FittingData, protocol: Protocol) -> list[FittedRun]:
        train, select = data.train, data.select
        score, sign = selection_metric(data.metric), METRICS[data.metric].sign
        ks = sorted({min(k, len(train)) for k in self.k})
        bank = _bank(train, data.classes)
        shares = _shares(bank, select.x, ks)  # (len(tried), N, C)
        values = [score(as_logits(share)[None], select.y).item() for share in shares]
        value, k = max(zip(values, ks, strict=True), key=lambda one: (sign * one[0], -one[1]))
        held = {**bank, "k": torch.tensor(float(k))}
        if protocol.selection == "holdout":  # else `select` is the split that is reported
            both = Embedded(torch.cat([train.x, select.x]), torch.cat([train.y, select.y]))
            bank = _bank(both, data.classes)
        params = {**held, **bank}
        data.progress(1, 1)
        return [FittedRun(data.runs[0], params, params, value, {"k": k}, held)]

    @override
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        return as_logits(_shares(params, x, [int(params["k"])])[0])


def _bank(data: Embedded, classes: int) -> dict[str, Tensor]:
    """Unit embeddings (N, D) and what each votes for (N, C)."""
    return {"bank": F.normalize(data.x), "votes": F.one_hot(data.y, classes).float()}


def _shares(params: dict[str, Tensor], x: Tensor, ks: Sequence[int]) -> Tensor:
    """Share of the votes of each class among the k nearest: x (N, D) -> float64 (len(ks), N, C)."""
    parts = []
    for rows in torch.split(x, max(1, _SIMILARITIES // len(params["bank"]))):
        similarity, nearest = (F.normalize(rows) @ params["bank"].T).topk(max(ks))  # (n, k) each
        weights = ((similarity - similarity[:, :1]) / _TEMPERATURE).exp()  # the nearest counts 1: nothing overflows
        votes = (weights[..., None] * params["votes"][nearest]).cumsum(1)  # (n, k, C)
        of_k = torch.stack([votes[:, k - 1] for k in ks]).double()  # (len(ks), n, C)
        parts.append(of_k / of_k.sum(2, keepdim=True))
    return torch.cat(parts, dim=1)


def as_logits(shares: Tensor) -> Tensor:
    """Shares (..., C) -> float64 logits whose softmax they are, but for a floor that adds up to 1 again.

    A clamped share would make the probability of a class without votes depend on how many others have none, and
    float32 on the order in which they are summed: AUROC would rank what ties.
    """
    return ((shares + _FLOOR) / (1 + _FLOOR * shares.shape[-1])).log()


class SimpleShot(Head):
    """The class whose mean is nearest, each mean made from a few images: `shots` per class, other ones for each run.

    Embeddings are centred by the mean of the whole training split and scaled to unit length. Source: Wang et al. 2019
    (SimpleShot), the variant CL2N.

    Args:
        shots: Images per class.
        draws: Number of runs.
    """

    def __init__(self, shots: int = 16, draws: int = 100) -> None:
        for name, value in (("shots", shots), ("draws", draws)):
            if value < 1:
                raise UsageError(f"Expected argument {name} to be at least 1, but got {value}.")
        self.shots, self.draws = shots, draws

    @override
    def runs(self, protocol: Protocol) -> range:
        """One for each draw, whatever the protocol repeats."""
        return range(self.draws)

    @override
    def fit(self, data: FittingData, protocol: Protocol) -> list[FittedRun]:
        train, select = data.train, data.select
        score, fitted = selection_metric(data.metric), []
        centre = train.x.mean(0)
        for run in data.runs:
            rows = few(train.y, self.shots, protocol.seed + run)
            shots, y = F.normalize(train.x[rows] - centre), F.one_hot(train.y[rows], data.classes).float()
            means = y.T @ shots / y.sum(0)[:, None]  # (C, D); NaN for a class without images: it has no mean
            params = {"centre": centre, "means": means}
            value = score(self.logits(params, select.x)[None], select.y).item()
            fitted.append(FittedRun(run, params, params, value, {"shots": self.shots}))
            data.progress(len(fitted), len(data.runs))
        return fitted

    @override
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """Minus the squared distance to each mean, (N, C); -inf where there is none."""
        x, means = F.normalize(x.double() - params["centre"]), params["means"].double()
        distances = 2 * x @ means.T - means.square().sum(1) - 1
        return distances.masked_fill(means.isnan().any(1), -torch.inf)
