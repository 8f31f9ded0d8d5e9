"""The linear probe of THUNDER: a grid of learning rates and weight decays, side by side on the same batches.

Source: MICS-Lab/thunder @ 1c5939f, `config/adaptation/frozen.yaml` and `tasks/train_eval_probe.py`. Initial values and
the order of the images are drawn from the seed as ours are, not as theirs: a score differs by that.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from eva_core.classification.gradient_head import UNSEEN, Params, threads, unseen_classes, without
from eva_core.classification.metric_names import METRICS
from eva_core.classification.metrics import selection_metric
from eva_core.contracts.head import FittedRun, FittingData
from eva_core.contracts.protocol import Protocol
from eva_core.errors import refuse
from eva_vision.heads.linear import Linear

_BETAS, _EPS = (0.9, 0.999), 1e-8  # torch's own of Adam


class LinearThunder(Linear):
    """Linear layers by Adam on cross entropy, with one output per class also where there are two.

    Each learning rate of the protocol is tried with each weight decay, which is added to the gradient. The best layer
    of all epochs by the metric on what selects is taken, the earliest of equals.

    Args:
        weight_decay: Weight decays to try.
        epochs: Passes over the training images.
    """

    def __init__(self, weight_decay: tuple[float, ...] = (0.0, 1e-3, 1e-4), epochs: int = 200) -> None:
        refuse(
            (not weight_decay or min(weight_decay) < 0, "argument weight_decay of at least 0", weight_decay),
            (epochs < 1, "argument epochs of at least 1", epochs),
        )
        self.weight_decay = tuple(weight_decay)
        self.epochs = epochs

    @override
    def fit(self, data: FittingData, protocol: Protocol) -> list[FittedRun]:
        """Fit each run by itself: within one, the layers of the grid already go side by side."""
        with threads(1), torch.no_grad():
            return [self._fit_run(data, protocol, run, number * self.epochs) for number, run in enumerate(data.runs)]

    def _fit_run(self, data: FittingData, protocol: Protocol, run: int, done: int) -> FittedRun:
        x, y = data.train.x, nn.functional.one_hot(data.train.y, data.classes).float()
        fixed = unseen_classes(data.train.y, data.classes)
        score, sign = selection_metric(data.metric), METRICS[data.metric].sign
        generator = torch.Generator().manual_seed(protocol.seed + run)
        settings = [(lr, decay) for lr in protocol.lr for decay in self.weight_decay]
        layers = [self.parameters(x.shape[1], data.classes, generator) for _ in settings]
        # (G, C, D + 1): the bias is the weight of a feature that is 1
        values = torch.stack([torch.cat([layer["weight"], layer["bias"][:, None]], dim=1) for layer in layers])
        adam = _Adam(values, settings)
        best: tuple[float, int, int, Tensor] | None = None
        for epoch in range(self.epochs):
            for rows in torch.randperm(len(x), generator=generator).split(protocol.batch_size):
                adam.step(_gradient(values, x[rows], y[rows]))
            found = score(_logits(values, data.select.x, fixed), data.select.y).tolist()
            for number, value in enumerate(found):
                if best is None or sign * value > sign * best[0]:
                    best = (value, number, epoch, values[number].clone())
            data.progress(done + epoch + 1, len(data.runs) * self.epochs)
        assert best is not None
        value, number, epoch, chosen = best
        lr, decay = settings[number]
        selected = {"epoch": epoch + 1, "lr": lr, "weight_decay": decay}
        return FittedRun(run, _params(chosen, fixed), _params(values[number], fixed), value, selected)


def _params(values: Tensor, fixed: Params) -> Params:
    """Weight and bias of one layer, (C, D + 1), as the head is stored."""
    return {"weight": values[:, :-1].clone(), "bias": values[:, -1].clone(), **fixed}


def _logits(values: Tensor, x: Tensor, fixed: Params) -> Tensor:
    """Outputs of every layer: (G, C, D + 1), (N, D) -> (G, N, C)."""
    logits = values[..., :-1] @ x.T + values[..., -1:]
    logits = logits.transpose(1, 2)
    return without(logits, fixed[UNSEEN]) if fixed else logits


def _gradient(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each layer's mean cross entropy: (G, C, D + 1), (B, D), (B, C) -> (G, C, D + 1)."""
    groups, classes, width = values.shape
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    logits = (x @ values.reshape(-1, width).T).view(len(x), groups, classes)
    slope = logits.softmax(dim=-1).sub_(y[:, None]).div_(len(x))
    return (slope.view(len(x), -1).T @ x).view_as(values)


@dataclass
class _Adam:
    """Adam with a learning rate and a weight decay for each layer, as by torch.optim.Adam with as many groups.

    Attributes:
        values: Parameters that steps change, (G, ...).
        settings: Learning rate and weight decay of each, G of them.
    """

    values: Tensor
    settings: list[tuple[float, float]]

    def __post_init__(self) -> None:
        shape = (-1, *[1] * (self.values.ndim - 1))
        self.lr, self.decay = (torch.tensor(column).view(shape) for column in zip(*self.settings, strict=True))
        self.first, self.second, self.count = torch.zeros_like(self.values), torch.zeros_like(self.values), 0

    def step(self, gradient: Tensor) -> None:
        """Make a step against the gradient, (G, ...), which is used up."""
        self.count += 1
        beta1, beta2 = _BETAS
        gradient.addcmul_(self.decay, self.values)
        self.first.lerp_(gradient, 1 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        spread = torch.sqrt(self.second).div_((1 - beta2**self.count) ** 0.5).add_(_EPS)
        self.values.sub_(torch.div(self.first, spread, out=gradient).mul_(self.lr / (1 - beta1**self.count)))
