"""Linear models on the standardised mean of a bag, whose penalty is chosen by what selects."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from eva_core.contracts.head import FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_vision.slide_level.contracts import BagData, BagHead, Bags
from eva_vision.slide_level.protocol import SlideLevel

_EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Linear:
    """A model of standardised means.

    Attributes:
        weight: (D,).
        bias: A number.
        penalty: What it was fitted with.
    """

    weight: Tensor
    bias: float
    penalty: float


class LinearOfMeans(BagHead):
    """A linear model of the mean of a bag: deterministic, and indifferent to the scale of the embeddings.

    The penalty is chosen by the metric of the outcome, the largest of equals; under `holdout` selection, where what
    selects is a part of train, the model is then fitted once more on both.
    """

    linear: ClassVar = True

    @override
    def runs(self, protocol: Protocol, section: SlideLevel) -> range:
        """One: nothing is random."""
        del protocol, section
        return range(1)

    @override
    def fit(self, data: BagData, protocol: Protocol) -> list[FittedRun]:
        penalties = sorted(data.section.penalties, reverse=True)
        total = len(penalties) + 1
        centre, scale, x = _standardised([data.train.means])
        best: tuple[float, float] | None = None  # value and penalty
        params: dict[str, Tensor] = {}
        for done, model in enumerate(self.solve(x, data.train.targets, penalties)):
            now = _params(model, centre, scale)
            value = math.nan
            if len(data.select):
                value = data.outcome.value(self.outputs(now, data.select), data.select.targets)
            if best is None or value > best[0] or (math.isnan(best[0]) and not math.isnan(value)):
                best, params = (value, model.penalty), now
            data.progress(done + 1, total)
        assert best is not None  # the section has penalties
        value, penalty = best
        if protocol.selection == "holdout" and len(data.select):  # else `select` is the split that is reported
            centre, scale, x = _standardised([data.train.means, data.select.means])
            targets = torch.cat([data.train.targets, data.select.targets])
            params = _params(self.solve(x, targets, [penalty])[0], centre, scale)
        data.progress(total, total)
        return [FittedRun(data.runs[0], params, params, value, {"penalty": penalty})]

    @override
    def outputs(self, params: dict[str, Tensor], bags: Bags) -> Tensor:
        centred = bags.means.double() - params["centre"]
        return torch.addmm(params["bias"].double(), centred, params["weight"].T.double()).float()

    @abstractmethod
    def solve(self, x: Tensor, targets: Tensor, penalties: Sequence[float]) -> list[Linear]:
        """The optimum for each penalty: standardised means, float64 (N, D), and targets (N, ...)."""


def _standardised(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation of features, (D,), infinite where one is constant; and the features in these units, (N, D)."""
    x = torch.cat([part.double() for part in parts])
    if not x.isfinite().all():
        raise EvaError("Expected finite means of bags, but some are not. Look at the embeddings.")
    centre, n = x.mean(0), len(x)
    variance = (x - centre).square().mean(0)
    noise = (n * centre * _EPS).square() + n * _EPS * variance  # as scikit-learn's StandardScaler has it
    scale = torch.where(variance <= noise, torch.inf, variance.sqrt())
    return centre, scale, (x - centre) / scale


def _params(model: Linear, centre: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """A model as float32 on raw means; what the centre loses by it is made good in the bias."""
    weight, rounded = model.weight / scale, centre.float()
    bias = model.bias + weight @ (rounded.double() - centre)
    return {"weight": weight[None].float(), "bias": bias[None].float(), "centre": rounded}
