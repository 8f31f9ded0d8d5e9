"""Attention over the patches of a bag: gated ABMIL, on bags of their real length."""

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from eva_core.contracts.head import FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.slide_level.contracts import BagData, BagHead, Bags

Params = dict[str, Tensor]


class AbmilNetwork(nn.Module):
    """Linear to `width`; attention by tanh and sigmoid gates; weighted sum; MLP to the outputs.

    Source: Ilse et al. 2018, equation 9; sizes as in kaiko-ai/eva @ 73b61a79.
    """

    def __init__(self, in_features: int, outputs: int, width: int = 128, hidden: int = 64) -> None:
        """Draw weights as torch's layers do, from its global generator."""
        super().__init__()
        self.project = nn.Linear(in_features, width)
        self.value, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        self.attend = nn.Linear(width, 1)
        self.classify = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, member: Tensor, bags: int) -> Tensor:
        """Patches of several bags, (n, D), and the bag of each, ascending (n,) -> outputs (bags, K)."""
        h = self.project(x)
        weights = softmax_by_bag(self._scores(h), member, bags)
        pooled = torch.zeros(bags, h.shape[1], dtype=h.dtype).index_add(0, member, h * weights[:, None])
        outputs: Tensor = self.classify(pooled)
        return outputs

    def attention(self, x: Tensor) -> Tensor:
        """The weight of each patch of one bag, (n, D) -> (n,)."""
        return self._scores(self.project(x)).softmax(0)

    def _scores(self, h: Tensor) -> Tensor:
        scores: Tensor = self.attend(self.value(h).tanh() * self.gate(h).sigmoid())[:, 0]
        return scores


def softmax_by_bag(scores: Tensor, member: Tensor, bags: int) -> Tensor:
    """Softmax over the patches of each bag: scores (n,) and the bag of each (n,) -> weights (n,)."""
    highest = torch.full((bags,), -math.inf, dtype=scores.dtype).scatter_reduce(0, member, scores, "amax")
    exponents = (scores - highest.detach()[member]).exp()
    return exponents / torch.zeros(bags, dtype=scores.dtype).index_add(0, member, exponents)[member]


class Abmil(BagHead):
    """Gated attention over patches, trained by AdamW; the best epoch by what selects is kept.

    Args:
        width: Size of the projected patches and of the gates.
        hidden: Size of the hidden layer that classifies.
    """

    tasks: ClassVar = frozenset({"slide_classification", "slide_regression", "slide_survival"})

    def __init__(self, width: int = 128, hidden: int = 64) -> None:
        for name, value in (("width", width), ("hidden", hidden)):
            if value < 1:
                raise UsageError(f"Expected argument {name} to be at least 1, but got {value}.")
        self.width, self.hidden = width, hidden

    @override
    def fit(self, data: BagData, protocol: Protocol) -> list[FittedRun]:
        section, total = data.section, len(data.section.lr) * len(data.runs)
        tried: list[list[FittedRun]] = []
        for lr in section.lr:
            fitted = []
            for run in data.runs:
                fitted.append(self._run(data, protocol, lr, run))
                data.progress(len(tried) * len(data.runs) + len(fitted), total)
            tried.append(fitted)
        return max(tried, key=lambda runs: sum(run.selected_value for run in runs))

    @override
    def outputs(self, params: Params, bags: Bags) -> Tensor:
        network = self._network(bags.means.shape[1], params["classify.2.bias"].shape[0], params)
        with torch.no_grad():
            return torch.cat([network(*batch) for batch in _batches(bags, np.arange(len(bags)), 32)])

    @override
    def attention(self, params: Params, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self._network(x.shape[1], params["classify.2.bias"].shape[0], params).attention(x)

    def _network(self, in_features: int, outputs: int, params: Params | None = None) -> AbmilNetwork:
        network = AbmilNetwork(in_features, outputs, self.width, self.hidden)
        if params is not None:
            network.load_state_dict(params)
        return network

    def _run(self, data: BagData, protocol: Protocol, lr: float, run: int) -> FittedRun:
        section, outcome = data.section, data.outcome
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(protocol.seed + run)
            network = self._network(data.train.means.shape[1], outcome.outputs)
        order = np.random.default_rng(protocol.seed + run)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=lr, weight_decay=section.weight_decay, betas=protocol.betas
        )
        best, value, at, waited = _copied(network), -math.inf, 0, 0
        for epoch in range(section.epochs):
            warm = protocol.warmup_factor if epoch < protocol.warmup_epochs else 1.0
            for group in optimizer.param_groups:
                group["lr"] = lr * warm
            shuffled = order.permutation(len(data.train))
            for start in range(0, len(shuffled), section.batch_size):
                rows = shuffled[start : start + section.batch_size]
                optimizer.zero_grad()
                (batch,) = _batches(data.train, rows, len(rows))
                outcome.loss(network(*batch), data.train.targets[torch.from_numpy(rows)]).backward()
                optimizer.step()
            now = outcome.value(self.outputs(_copied(network), data.select), data.select.targets)
            waited += 1
            if now > value or not math.isfinite(value):
                best, value, at, waited = _copied(network), now, epoch + 1, 0
            if section.patience is not None and waited >= section.patience:
                break
        return FittedRun(run, best, _copied(network), value, {"epoch": at, "lr": lr})


def _copied(network: nn.Module) -> Params:
    return {name: p.detach().clone() for name, p in network.state_dict().items()}


def _batches(bags: Bags, rows: np.ndarray, size: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Some bags as patches (n, D), the bag of each patch (n,), and how many bags there are."""
    for start in range(0, len(rows), size):
        chosen: Sequence[int] = rows[start : start + size].tolist()
        parts = [bags.read(n) for n in chosen]
        member = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
        yield torch.cat(parts), member, len(parts)
