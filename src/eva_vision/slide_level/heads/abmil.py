"""Attention over the patches of a bag: gated ABMIL, on bags of their real length."""

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from eva_core.classification.gradient_head import threads
from eva_core.contracts.head import FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.slide_level.contracts import BagData, BagHead, Bags
from eva_vision.slide_level.heads.bag_batches import BagBatches, bytes_of, in_pieces, patches_of
from eva_vision.slide_level.heads.gated_attention import KEPT, PIECE, GatedAttention

Params = dict[str, Tensor]
_THREADED = 2**24  # patches x features x width of a step from which runs gain from threads: below, they wait for Python
_ALIGNED = 16  # floats in a cache line
_IN_FLIGHT = 3  # batches that a run which streams holds at once: used, next, and about to be


class Abmil(BagHead):
    """Gated attention over patches, trained by AdamW; the best epoch by what selects is kept.

    A linear layer to `width`; attention by tanh and sigmoid gates; the weighted sum; an MLP with one hidden layer.
    Sizes as in kaiko-ai/eva @ 73b61a79.

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
        section = data.section
        jobs = [(lr, run) for lr in section.lr for run in data.runs]
        batch = min(section.batch_size, len(data.train))
        budget = data.memory_gb * 1e9
        at_once = _runs_at_once(data, batch, len(jobs), self.width)
        in_memory = bytes_of(data.train) + bytes_of(data.select) <= budget
        if not in_memory:
            working = KEPT * self.width * patches_of(data.train, batch) * 4
            of_run = _IN_FLIGHT * bytes_of(data.train, batch) + working
            at_once = max(1, min(at_once, int(budget / of_run)))
        train, select = BagBatches(data.train, in_memory), BagBatches(data.select, in_memory)
        tell = _Told(data.progress, len(jobs) * section.epochs)

        def job(lr: float, run: int) -> FittedRun:
            torch.set_num_threads(1)
            return _Run(self, data, protocol, lr, run, train, select).train(tell)

        with threads(1):
            fitted = _in_threads([partial(job, lr, run) for lr, run in jobs], at_once, tell)
        tried = [fitted[start : start + len(data.runs)] for start in range(0, len(jobs), len(data.runs))]
        return max(tried, key=_total)

    @override
    def outputs(self, params: Params, bags: Bags) -> Tensor:
        return self.outputs_of_all([params], bags)[0]

    @override
    def outputs_of_all(self, heads: Sequence[Params], bags: Bags) -> Tensor:
        with torch.no_grad():
            return self.said(heads, BagBatches(bags, in_memory=False))

    @override
    def attention(self, params: Params, x: Tensor) -> Tensor:
        with torch.no_grad():
            return GatedAttention().attention(params, x)

    def parameters(self, in_features: int, outputs: int) -> dict[str, Tensor]:
        """Draw parameters as torch's layers do, from its global generator."""
        width, hidden = self.width, self.hidden
        layers = {
            "project": nn.Linear(in_features, width),
            "value": nn.Linear(width, width),
            "gate": nn.Linear(width, width),
            "attend": nn.Linear(width, 1),
            "hidden": nn.Linear(width, hidden),
            "classify": nn.Linear(hidden, outputs),
        }
        return {
            f"{name}.{key}": value.detach() for name, layer in layers.items() for key, value in layer.named_parameters()
        }

    def said(self, heads: Sequence[Params], read: BagBatches, attention: GatedAttention | None = None) -> Tensor:
        """What heads say of all bags, (R, N, K), which are read once."""
        attention = attention or GatedAttention()
        pieces = in_pieces(read.bags, PIECE)
        outputs = torch.empty(len(heads), len(read.bags), len(heads[0]["classify.bias"]))
        for numbers, bags in zip(pieces, read(pieces), strict=True):
            for head, params in enumerate(heads):
                outputs[head, torch.from_numpy(numbers)] = _classify(params, attention.pool(params, bags))[1]
        return outputs


def _classify(params: Params, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden layer and the outputs, (B, hidden) and (B, K), for pooled bags (B, W)."""
    hidden = torch.addmm(params["hidden.bias"], pooled, params["hidden.weight"].T).relu_()
    return hidden, torch.addmm(params["classify.bias"], hidden, params["classify.weight"].T)


def _total(runs: Sequence[FittedRun]) -> float:
    """What the runs of a learning rate are worth; nothing where that is undefined."""
    total = sum(run.selected_value for run in runs)
    return -math.inf if math.isnan(total) else total


class _Told:
    """Progress of several threads, and whether they are to stop."""

    def __init__(self, tell: Callable[[int, int], None], total: int) -> None:
        self.stopped = False
        self._tell, self._total, self._done, self._lock = tell, total, 0, threading.Lock()

    def add(self, epochs: int) -> None:
        """Tell that some more epochs are done, or need not be."""
        with self._lock:
            self._done += epochs
            self._tell(self._done, self._total)


def _runs_at_once(data: BagData, batch: int, jobs: int, width: int) -> int:
    """Threads that help: none where steps are short, as they wait for each other in Python."""
    if not len(data.train):
        return 1
    work = float(data.train.counts.mean()) * batch * data.train.means.shape[1] * width
    return min(torch.get_num_threads(), jobs) if work >= _THREADED else 1


def _in_threads(jobs: Sequence[Callable[[], FittedRun]], at_once: int, told: _Told) -> list[FittedRun]:
    """The results of jobs in order, some of them at once; an error or an interrupt ends all soon."""
    if at_once == 1:
        return [job() for job in jobs]
    with ThreadPoolExecutor(at_once) as pool:
        futures: list[Future[FittedRun]] = [pool.submit(job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            told.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass
class _Best:
    params: Params
    value: float = math.nan
    epoch: int = 0
    mark: float = math.nan
    """What the next value must exceed for patience to begin anew."""
    waited: int = 0


class _Run:
    """One run with one learning rate: its parameters lie in one row, through which AdamW goes at once."""

    def __init__(
        self,
        head: Abmil,
        data: BagData,
        protocol: Protocol,
        lr: float,
        run: int,
        train: BagBatches,
        select: BagBatches,
    ) -> None:
        self.head, self.data, self.protocol, self.lr, self.run = head, data, protocol, lr, run
        self.train_bags, self.select_bags, self.attention = train, select, GatedAttention()
        with _seeding, torch.random.fork_rng(devices=[]):
            torch.manual_seed(protocol.seed + run)
            first = head.parameters(data.train.means.shape[1], data.outcome.outputs)
        self.params, self.values = _in_a_row(first)
        self.slopes, self.values.grad = _in_a_row(first)
        for name, value in first.items():
            self.params[name].copy_(value)
        self.shift, self.scale = data.outcome.units(data.train.targets)
        self.targets = data.train.targets
        if (self.shift, self.scale) != (0.0, 1.0):
            self.targets = (self.targets - self.shift) / self.scale

    def train(self, told: _Told) -> FittedRun:
        """Train to the end, or until patience is out."""
        data, protocol, section = self.data, self.protocol, self.data.section
        order = np.random.default_rng(protocol.seed + self.run)
        optimizer = torch.optim.AdamW(
            [self.values], lr=self.lr, weight_decay=section.weight_decay, betas=protocol.betas, fused=True
        )
        best, epoch = _Best({}), 0
        with torch.no_grad():
            for epoch in range(section.epochs):
                optimizer.param_groups[0]["lr"] = self.lr * (
                    protocol.warmup_factor if epoch < protocol.warmup_epochs else 1.0
                )
                shuffled = order.permutation(len(data.train))
                batches = np.split(shuffled, range(section.batch_size, len(shuffled), section.batch_size))
                for numbers, bags in zip(batches, self.train_bags(batches), strict=True):
                    self._gradients(bags, torch.from_numpy(numbers))
                    optimizer.step()
                    if told.stopped:
                        raise InterruptedError
                self._look(best, epoch + 1)
                told.add(1)
                if section.patience is not None and best.waited >= section.patience:
                    break
        told.add(section.epochs - 1 - epoch)
        last = self._scaled()
        return FittedRun(self.run, best.params, last, best.value, {"epoch": best.epoch, "lr": self.lr})

    def _gradients(self, bags: list[Tensor], numbers: Tensor) -> None:
        params, slopes = self.params, self.slopes
        pooled = self.attention.pool(params, bags)
        hidden, outputs = _classify(params, pooled)
        with torch.enable_grad():
            outputs.requires_grad_()
            (slope,) = torch.autograd.grad(self.data.outcome.loss(outputs, self.targets[numbers]), [outputs])
        torch.mm(slope.T, hidden, out=slopes["classify.weight"])
        torch.sum(slope, 0, out=slopes["classify.bias"])
        slope = (slope @ params["classify.weight"]).mul_(hidden > 0)
        torch.mm(slope.T, pooled, out=slopes["hidden.weight"])
        torch.sum(slope, 0, out=slopes["hidden.bias"])
        self.attention.gradients(params, bags, slope @ params["hidden.weight"], slopes)

    def _look(self, best: _Best, epoch: int) -> None:
        """Keep the parameters if they are the best so far; where nothing selects, the last are."""
        params, value = self._scaled(), math.nan
        if len(self.data.select):
            outputs = self.head.said([params], self.select_bags, self.attention)[0]
            value = self.data.outcome.value(outputs, self.data.select.targets)
        if math.isnan(best.value) or value > best.value:
            best.params, best.value, best.epoch = params, value, epoch
        improved = math.isnan(best.mark) or value - best.mark > self.protocol.min_delta
        best.mark, best.waited = (value, 0) if improved else (best.mark, best.waited + 1)

    def _scaled(self) -> Params:
        """A copy of the parameters, of which the last layer gives outputs in the units of the targets."""
        copied = {name: p.clone() for name, p in self.params.items()}
        copied["classify.weight"].mul_(self.scale)
        copied["classify.bias"].mul_(self.scale).add_(self.shift)
        return copied


_seeding = threading.Lock()  # torch's layers draw from a generator that all threads share


def _in_a_row(like: Params) -> tuple[Params, Tensor]:
    """Zeros in the shapes of parameters, by name, and the row in which they lie, each on a cache line of its own."""
    sizes = [-(-p.numel() // _ALIGNED) * _ALIGNED for p in like.values()]
    row = torch.zeros(sum(sizes))
    parts = zip(like.items(), row.split(sizes), strict=True)
    return {name: part[: p.numel()].view(p.shape) for (name, p), part in parts}, row
