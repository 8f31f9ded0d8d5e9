"""L2 logistic regression of each label by itself on standardised features; labels may be shares."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from eva_core.classification.gradient_head import threads
from eva_core.contracts.head import Embedded, FittedRun
from eva_core.contracts.protocol import Protocol
from eva_vision.heads.logreg_solver import Affine, LogisticRegression, affine
from eva_vision.multilabel.contracts import LabelData, LabelHead
from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.metrics import weighted

STRENGTHS = tuple(10.0**power for power in range(-6, 7))
"""Inverse strengths that are tried where the protocol lists none."""
_THREADED = 2**21  # numbers in train from which more threads help


class LogRegLabels(LabelHead):
    """Minimises mean binary cross entropy + ||w||^2 / (2 C n) for each label, on the n images annotated with it.

    One C for all labels is chosen by the main metric on `select`, the smallest of equals, and by the cross entropy
    where no label of `select` has that metric; under `holdout` selection, where `select` is a part of train, the head
    is then fitted once more on both. A label that all images have, or none, gets a constant.
    """

    @override
    def runs(self, protocol: Protocol) -> range:
        """One: nothing is random."""
        del protocol
        return range(1)

    @override
    def fit(self, data: LabelData, protocol: Protocol) -> list[FittedRun]:
        train, select, strengths = data.train, data.select, sorted(protocol.C or STRENGTHS)
        tried: list[tuple[float, float, dict[str, Tensor]]] = []  # the metric, minus the cross entropy, parameters
        with threads(torch.get_num_threads() if train.x.numel() >= _THREADED else 1):
            problem = _Problem([train])
            for c in strengths:
                data.progress(len(tried), len(strengths) + 1)
                params = problem.params(c)
                z = self.logits(params, select.x)
                tried.append((_score(z, select.y, data.metric), -_cross_entropy(z, select.y), params))
            scores = [value if not np.isnan(value) else -np.inf for value, _, _ in tried]
            if np.isneginf(scores).all():
                scores = [entropy for _, entropy, _ in tried]
            best = int(np.argmax(scores))
            held = params = tried[best][2]
            if protocol.selection == "holdout":  # else `select` is the split that is reported
                data.progress(len(strengths), len(strengths) + 1)
                params = _Problem([train, select]).params(strengths[best])
        data.progress(len(strengths) + 1, len(strengths) + 1)
        value = METRICS[data.metric].sign * tried[best][0]
        return [FittedRun(data.runs[0], params, params, value, {"C": strengths[best]}, held)]

    @override
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        return affine(x, params["centre"], params["weight"], params["bias"])


def _score(z: Tensor, targets: Tensor, metric: str) -> float:
    """A mean over labels, negative where lower is better."""
    labels = [str(number) for number in range(z.shape[1])]
    values = weighted(z.numpy(), targets.numpy(), labels, np.ones((1, len(z))), [metric])
    return METRICS[metric].sign * float(values[metric][0])


def _cross_entropy(z: Tensor, targets: Tensor) -> float:
    """Mean over what is annotated of the binary cross entropy, in nats: (N, L) both."""
    return float((softplus(z.double()) - targets * z.double()).nanmean())


class _Problem:
    """The regressions of all labels; those that are annotated on the same images share the features."""

    def __init__(self, parts: Sequence[Embedded]) -> None:
        x, self.y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
        self.centre = x.double().mean(0)
        known = ~self.y.isnan()
        patterns, self.pattern = torch.unique(known, dim=1, return_inverse=True)
        self.rows = [patterns[:, number] for number in range(patterns.shape[1])]
        self.shared = [
            LogisticRegression([Embedded(x if rows.all() else x[rows], self.y[rows, 0])], 1) if rows.any() else None
            for rows in self.rows
        ]
        self.before: dict[int, Affine] = {}

    def params(self, c: float) -> dict[str, Tensor]:
        """The minimum of every label for one C: `weight` (L, D), `bias` (L,) and `centre` (D,), float32."""
        weight = torch.zeros(self.y.shape[1], len(self.centre), dtype=torch.float64)
        bias = torch.zeros(len(weight), dtype=torch.float64)
        for label, number in enumerate(self.pattern.tolist()):
            y, regression = self.y[self.rows[number], label], self.shared[number]
            if regression is None or (y == y[0]).all():
                bias[label] = torch.logit((y.sum() + 0.5) / (len(y) + 1))
                continue
            model = regression.with_targets(y).solve(c, self.before.get(label))
            self.before[label] = model
            weight[label] = model.weight[0]
            bias[label] = model.bias[0] + (self.centre - model.centre) @ model.weight[0]
        return {"weight": weight.float(), "bias": bias.float(), "centre": self.centre.float()}
