"""Gradient training of heads on embeddings in memory: several runs at once, each as if it were alone.

Shapes: R runs, N samples, B samples in a batch, D features, K outputs (one per class; a single one for two classes).
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from typing_extensions import override

from eva_core.classification.metric_names import METRICS
from eva_core.classification.metrics import selection_metric
from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
from eva_core.contracts.protocol import Protocol

Params = dict[str, Tensor]
UNSEEN = "unseen"
"""Name under which parameters mark the classes that no training sample had, (C,) of 0 and 1; left out if all had."""

_STACKED = 2**20  # batch x parameters up to which runs go as one stack: beyond, arithmetic outweighs the calls saved
_THREADED = 2**25  # batch x parameters from which a run gains from more threads: below, waking them costs more
_ROWS = 16_384  # rows per forward pass outside training: bounds what hidden layers hold
_LINE = 16  # floats in a cache line; MKL's last bit depends on alignment, so every run begins on a line
_TICK = 100  # steps between reports of progress


class GradientHead(Head):
    """A head trained by AdamW on cross entropy, or on binary cross entropy of one logit where there are two classes."""

    @abstractmethod
    def parameters(self, in_features: int, outputs: int, generator: torch.Generator) -> Params:
        """The initial parameters of one run, as torch's own layers would draw them from `generator`."""

    @abstractmethod
    def forward(self, params: Params, x: Tensor) -> Tensor:
        """Outputs for x: (B, D) -> (B, K); where each parameter has a leading run dimension, (R, B, D) -> (R, B, K)."""

    @override
    def logits(self, params: Params, x: Tensor) -> Tensor:
        logits = torch.cat([self.forward(params, rows) for rows in torch.split(x, _ROWS)])
        return without(logits, params[UNSEEN]) if UNSEEN in params else logits

    def gradients(self, params: Params, x: Tensor, targets: Tensor, out: Params) -> None:
        """Write the gradient of each run's mean loss: by autograd and run by run, unless a head knows better.

        Args:
            params: Parameters of the runs, each (R, ...).
            x: Embeddings of a batch of each run, (R, B, D).
            targets: Their labels, (R, B, K), one-hot; 0 or 1 for a single output.
            out: Receives the gradients, in the shapes of `params`.
        """
        for run in range(len(x)):
            leaves = {name: p[run].detach().requires_grad_() for name, p in params.items()}
            with torch.enable_grad():
                logits = self.forward(leaves, x[run])
            slope = loss_gradient(logits.detach(), targets[run])
            for name, gradient in zip(leaves, torch.autograd.grad(logits, [*leaves.values()], slope), strict=True):
                out[name][run].copy_(gradient)

    @override
    def fit(self, data: FittingData, protocol: Protocol) -> list[FittedRun]:
        train, classes = data.train, data.classes
        targets = train.y[:, None].float() if classes == 2 else nn.functional.one_hot(train.y, classes).float()
        layout = _Layout(self.parameters(train.x.shape[1], targets.shape[1], torch.Generator()))
        work = min(protocol.batch_size, len(train)) * layout.size
        at_once = len(data.runs) if work <= _STACKED else 1
        groups = [data.runs[i : i + at_once] for i in range(0, len(data.runs), at_once)]
        total = len(protocol.lr) * len(data.runs) * protocol.steps
        fixed = unseen_classes(train.y, classes)
        job = _Fit(
            self,
            train.x,
            targets,
            data.select,
            protocol,
            data.metric,
            data.patience,
            layout,
            fixed,
            lambda done: data.progress(done, total),
        )
        done = 0
        tried: list[list[FittedRun]] = []
        with threads(torch.get_num_threads() if work >= _THREADED else 1), torch.no_grad():
            for lr in protocol.lr:
                fitted: list[FittedRun] = []
                for group in groups:
                    fitted += job.train(lr, group, done)
                    done += len(group) * protocol.steps
                tried.append(fitted)
        return max(tried, key=lambda fitted: job.sign * sum(run.selected_value for run in fitted))


def without(logits: Tensor, unseen: Tensor) -> Tensor:
    """Logits that never predict the classes in which `unseen`, (C,), is not 0: (N, C), or (N, 1) of two classes."""
    if logits.shape[-1] == 1:
        return torch.full_like(logits, -torch.inf if unseen[1] else torch.inf)
    return torch.where(unseen != 0, -torch.inf, logits)


def unseen_classes(y: Tensor, classes: int) -> Params:
    """A parameter of a head that says which classes it never saw; none where it saw them all."""
    unseen = (y.bincount(minlength=classes) == 0).float()
    return {UNSEEN: unseen} if unseen.any() else {}


def loss_gradient(logits: Tensor, targets: Tensor, dim: int = -1) -> Tensor:
    """Gradient of the mean (binary) cross entropy with respect to the logits.

    Args:
        logits: Outputs for a batch, (..., B, K), or (..., K, B) with dim = -2.
        targets: Labels in the shape of the logits, one-hot; 0 or 1 for a single output.
        dim: Where the outputs are.

    Examples:
        >>> loss_gradient(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]])).tolist()
        [[-0.25], [0.25]]
    """
    outputs = logits.shape[dim]
    probabilities = logits.sigmoid() if outputs == 1 else logits.softmax(dim)
    return probabilities.sub_(targets).div_(logits.shape[-1] * logits.shape[-2] // outputs)


def per_run(runs: int, *shape: int, device: torch.device) -> Tensor:
    """Zeros (runs, *shape), each run on a cache line of its own, as it would be alone: results are equal to a bit."""
    size = math.prod(shape)
    return torch.unflatten(torch.zeros(runs, _lines(size), device=device)[:, :size], 1, shape)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch to `count` threads within, and back to as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lines(size: int) -> int:
    return -(-size // _LINE) * _LINE


class _Layout:
    """Places of the parameters of a run in one flat row, so that the optimiser has a single tensor to go through."""

    def __init__(self, params: Params) -> None:
        self.shapes = {name: p.shape for name, p in params.items()}
        self.size = sum(_lines(shape.numel()) for shape in self.shapes.values())

    def views(self, flat: Tensor) -> Params:
        """Views by name, each (R, ...), of `flat`, (R, size)."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            views[name] = torch.unflatten(flat[:, start : start + shape.numel()], 1, shape)
            start += _lines(shape.numel())
        return views


@dataclass
class _Track:
    """One run on its way: its own random numbers, and its best so far."""

    run: int
    generator: torch.Generator
    best: Params = field(default_factory=dict)
    value: float = math.nan
    step: int = 0
    mark: float = math.nan
    """What the next evaluation must exceed for patience to begin anew."""
    waited: int = 0


@dataclass
class _Fit:
    """Data and settings that all runs of a fit share, among them x (N, D) and targets (N, K) to learn from."""

    head: GradientHead
    x: Tensor
    targets: Tensor
    select: Embedded
    protocol: Protocol
    metric: str
    patience: int | None
    layout: _Layout
    fixed: Params
    """Parameters that are not trained, and the same for every run."""
    progress: Callable[[int], None]

    def __post_init__(self) -> None:
        self.score = selection_metric(self.metric)
        self.sign = METRICS[self.metric].sign

    def train(self, lr: float, runs: Sequence[int], done: int) -> list[FittedRun]:
        """Train some runs side by side with one learning rate; `done` counts the steps of runs before."""
        protocol, (samples, features), outputs = self.protocol, self.x.shape, self.targets.shape[1]
        device = self.x.device
        batch = min(protocol.batch_size, samples)
        epoch_steps = -(-samples // batch)
        x, targets = (per_run(len(runs), batch, width, device=device) for width in (features, outputs))

        tracks = [_Track(run, torch.Generator().manual_seed(protocol.seed + run)) for run in runs]
        finished: list[FittedRun] = []
        state = [
            torch.zeros(len(runs), self.layout.size, device=device) for _ in range(4)
        ]  # values, gradients, both moments
        count = torch.zeros((), device=device)  # of steps
        params, gradients = self.layout.views(state[0]), self.layout.views(state[1])
        for row, track in enumerate(tracks):
            for name, p in self.head.parameters(features, outputs, track.generator).items():
                params[name][row] = p

        for step in range(protocol.steps):
            epoch, position = divmod(step, epoch_steps)
            if position == 0:
                orders = [torch.randperm(samples, generator=track.generator).to(device) for track in tracks]
            now = slice(position * batch, (position + 1) * batch)
            size = len(orders[0][now])
            for row, order in enumerate(orders):
                torch.index_select(self.x, 0, order[now], out=x[row, :size])
                torch.index_select(self.targets, 0, order[now], out=targets[row, :size])
            self.head.gradients(params, x[: len(tracks), :size], targets[: len(tracks), :size], gradients)
            _update(state, count, protocol, lr * (protocol.warmup_factor if epoch < protocol.warmup_epochs else 1))

            if (step + 1) % _TICK == 0:
                self.progress(done + (step + 1) * len(runs))
            if (step + 1) % (protocol.evaluate_every or epoch_steps):
                continue
            self._evaluate(tracks, params, step + 1)
            going = [row for row, track in enumerate(tracks) if not self._has_stalled(track)]
            if len(going) < len(tracks):
                finished += [self._finish(t, params, row, lr) for row, t in enumerate(tracks) if row not in going]
                tracks, orders = [tracks[row] for row in going], [orders[row] for row in going]
                state = [tensor[going] for tensor in state]
                params, gradients = self.layout.views(state[0]), self.layout.views(state[1])
                if not tracks:
                    break
        if tracks and not tracks[0].best:
            self._evaluate(tracks, params, protocol.steps)
        finished += [self._finish(track, params, row, lr) for row, track in enumerate(tracks)]
        self.progress(done + protocol.steps * len(runs))
        return sorted(finished, key=lambda run: runs.index(run.run))

    def _evaluate(self, tracks: list[_Track], params: Params, step: int) -> None:
        # run by run: products of other shapes would round differently from a run trained alone
        logits = torch.stack(
            [self.head.logits({**_row(params, row), **self.fixed}, self.select.x) for row in range(len(tracks))]
        )
        values = self.score(logits, self.select.y).tolist()
        for row, (track, value) in enumerate(zip(tracks, values, strict=True)):
            improved = not track.best or self.sign * (value - track.mark) > self.protocol.min_delta
            track.mark, track.waited = (value, 0) if improved else (track.mark, track.waited + 1)
            if not track.best or self.sign * value > self.sign * track.value:
                track.best, track.value, track.step = self._copied(params, row), value, step

    def _has_stalled(self, track: _Track) -> bool:
        return self.patience is not None and track.waited >= max(1, self.patience)

    def _finish(self, track: _Track, params: Params, row: int, lr: float) -> FittedRun:
        return FittedRun(track.run, track.best, self._copied(params, row), track.value, {"step": track.step, "lr": lr})

    def _copied(self, params: Params, row: int) -> Params:
        """All parameters of one run, apart from those that are trained on."""
        return {**{name: p[row].clone() for name, p in params.items()}, **self.fixed}


def _row(params: Params, row: int) -> Params:
    return {name: p[row] for name, p in params.items()}


def _update(state: list[Tensor], count: Tensor, protocol: Protocol, lr: float) -> None:
    """Make one step of AdamW, in place, on (values, gradients, first moments, second moments)."""
    values, gradients, first, second = state
    beta1, beta2 = protocol.betas
    adamw(
        [values],
        [gradients],
        [first],
        [second],
        [],
        [count],
        fused=True,  # one pass over memory; the class around it costs as much again as the step
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=lr,
        weight_decay=protocol.weight_decay,
        eps=1e-8,
        maximize=False,
    )
