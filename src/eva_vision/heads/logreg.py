"""L2 logistic regression on standardised features: deterministic, and indifferent to the scale of the embeddings."""

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from eva_core.classification.gradient_head import threads
from eva_core.classification.metric_names import METRICS
from eva_core.classification.metrics import selection_metric
from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.heads.logreg_solver import Affine, LogisticRegression, affine

_THREADED = 2**21  # numbers in train from which more threads help; below, waking them costs more than they save


class LogReg(Head):
    """Minimises mean cross entropy + ||W||^2 / (2 C n), bias unpenalised, so that C means what it does in sklearn.

    C is chosen by the metric on `select`, the smallest of equals; under `holdout` selection, where `select` is a part
    of train, the head is then fitted once more on both.
    """

    @override
    def runs(self, protocol: Protocol) -> range:
        """One, as nothing is random, unless each run draws its own few shots.

        Raises:
            UsageError: The protocol lists no values of C to choose from.
        """
        if not protocol.C:
            raise UsageError(
                f"Expected protocol {protocol.name} to list values of C for the head logreg, but got none; "
                "use --protocol strict or --protocol.C '[0.01, 1, 100]'."
            )
        return range(protocol.runs if protocol.shots else 1)

    @override
    def fit(self, data: FittingData, protocol: Protocol) -> list[FittedRun]:
        self.runs(protocol)  # refuses a protocol without C
        train, select = data.train, data.select
        score, sign = selection_metric(data.metric), METRICS[data.metric].sign
        candidates: list[tuple[float, float, Affine]] = []

        with threads(torch.get_num_threads() if train.x.numel() >= _THREADED else 1):
            problem = _Problem([train], data.classes)
            for c in sorted(protocol.C):
                data.progress(len(candidates), len(protocol.C) + 1)
                model = problem.solve(c, candidates[-1][2] if candidates else None)
                value = score(self.logits(problem.params(model), select.x)[None], select.y).item()
                candidates.append((value, c, model))
            value, c, model = max(candidates, key=lambda candidate: sign * candidate[0])
            held = problem.params(model)
            if protocol.selection == "holdout":  # else `select` is the split that is reported
                data.progress(len(candidates), len(protocol.C) + 1)
                problem = _Problem([train, select], data.classes)
                model = problem.solve(c)  # from nothing: a model that is sure of itself is a bad start on new samples
        data.progress(len(protocol.C) + 1, len(protocol.C) + 1)
        params, held = ({name: value.cpu() for name, value in of.items()} for of in (problem.params(model), held))
        return [FittedRun(data.runs[0], params, params, value, {"C": c}, held)]

    @override
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        return affine(x, params["centre"], params["weight"], params["bias"]).float()


class _Problem:
    """The regression over the classes that some samples have: what has no sample is not a class to scikit-learn."""

    def __init__(self, parts: Sequence[Embedded], classes: int) -> None:
        self.present: Tensor = torch.unique(torch.cat([part.y for part in parts]))  # ascending
        self.classes = classes
        self.regression: LogisticRegression | None = None
        if len(self.present) > 1:
            numbered = [Embedded(part.x, torch.searchsorted(self.present, part.y)) for part in parts]
            self.regression = LogisticRegression(numbered, len(self.present) if len(self.present) > 2 else 1)
        self.nothing = parts[0].x.new_zeros(1, parts[0].x.shape[1], dtype=torch.float64)

    def solve(self, c: float, start: Affine | None = None) -> Affine:
        """The minimum for one C; `start`, that of another C, makes it quicker."""
        if self.regression is None:
            return Affine(self.nothing, self.nothing[:, 0], self.nothing[0])
        return self.regression.solve(c, start)

    def params(self, model: Affine) -> dict[str, Tensor]:
        """A solution as float32 on raw features, with an output for every class, or one for two.

        A class without a sample has a bias of -inf: it is never predicted.
        """
        weight, bias = model.weight, model.bias
        if len(self.present) < self.classes:
            speaking = self.present[1:] if len(self.present) == 2 else self.present
            weight, bias = self.nothing.repeat(self.classes, 1), torch.full((self.classes,), -torch.inf).to(bias)
            bias[self.present] = 0
            weight[speaking], bias[speaking] = model.weight, model.bias
            if self.classes == 2:
                weight, bias = self.nothing, bias[1:] - bias[:1]
        return {name: value.float() for name, value in (("weight", weight), ("bias", bias), ("centre", model.centre))}
