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

from eva_core.metrics import LOWER_IS_BETTER, selection_metric
from eva_core.protocol import Protocol
from eva_core.types import Embedded, FittedRun, Head

Params = dict[str, Tensor]

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
        """x (B, D) -> (B, K); where every parameter has a leading run dimension, (R, B, D) -> (R, B, K)."""

    def logits(self, params: Params, x: Tensor) -> Tensor:
        return torch.cat([self.forward(params, rows) for rows in x.split(_ROWS)])

    def gradients(self, params: Params, x: Tensor, targets: Tensor, out: Params) -> None:
        """Write the gradient of each run's mean loss: by autograd and run by run, unless a head knows better.

        Args:
            params: Each (R, ...).
            x: (R, B, D).
            targets: (R, B, K), one-hot; 0 or 1 for a single output.
            out: Like `params`.
        """
        for run in range(len(x)):
            leaves = {name: p[run].detach().requires_grad_() for name, p in params.items()}
            with torch.enable_grad():
                logits = self.forward(leaves, x[run])
            gradients = torch.autograd.grad(logits, list(leaves.values()), loss_gradient(logits.detach(), targets[run]))
            for name, gradient in zip(leaves, gradients, strict=True):
                out[name][run].copy_(gradient)

    def fit(
        self,
        train: Embedded,
        select: Embedded,
        classes: int,
        recipe: Protocol,
        runs: Sequence[int],
        metric: str = "balanced_accuracy",
        patience: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[FittedRun]:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        targets = train.y[:, None].float() if classes == 2 else nn.functional.one_hot(train.y, classes).float()
        layout = self.parameters(train.x.shape[1], targets.shape[1], torch.Generator())
        work = min(recipe.batch_size, len(train)) * sum(p.numel() for p in layout.values())
        at_once = len(runs) if work <= _STACKED else 1
        total = len(recipe.lr) * len(runs) * recipe.steps
        tried: list[list[FittedRun]] = []
        with threads(torch.get_num_threads() if work >= _THREADED else 1), torch.no_grad():
            for lr in recipe.lr:
                fitted: list[FittedRun] = []
                while len(fitted) < len(runs):
                    group = runs[len(fitted) : len(fitted) + at_once]
                    done, weight = (len(tried) * len(runs) + len(fitted)) * recipe.steps, len(group)
                    stack = _Stack(self, train.x, targets, recipe, lr, group)
                    score = Scorer(...)
