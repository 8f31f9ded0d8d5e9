"""L2 logistic regression, solved to its optimum whatever the penalty, the number of features and their correlation."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eva_core.contracts.head import Embedded

TOLERANCE = 1e-5  # of the coefficients, relative to their norm
_EPS = torch.finfo(torch.float64).eps
_STEPS = 100  # of Newton; some seven are usual
_PRODUCTS = 5_000  # of the Hessian and a vector in a step
_CHUNK = (
    2**18
)  # numbers that are float64 at a time: 2 MB stay in cache, and embeddings are neither copied nor held twice


@dataclass(frozen=True)
class Affine:
    """Logits (x - centre) W^T + b, in float64: weight (K, D), bias (K,), centre (D,); K = 1 for two classes.

    The centre is that of the samples, as float32 holds it. Without it a feature far from 0 that hardly varies would
    make logits the small difference of large terms, which float32 cannot hold.
    """

    weight: Tensor
    bias: Tensor
    centre: Tensor


def affine(x: Tensor, centre: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(x - centre) W^T + b for features (N, D) -> float64 (N, K)."""
    weight, bias = weight.double(), bias.double()
    return torch.cat([torch.addmm(bias, piece.double().sub_(centre), weight.T) for piece in _split(x)])


class LogisticRegression:
    """Mean cross entropy + ||W||^2 / (2 C n) on standardised features, bias free, of some samples: all C share a setup.

    Newton's method, its steps by conjugate gradients (Nocedal and Wright, Numerical Optimization, 2006, section 7.1) in
    the eigenbasis of the features, where the Hessian is nearly diagonal. With fewer samples than features everything
    happens in the space that the samples span, in which the weights must lie. It ends where the gradient is at most
    TOLERANCE times that of the penalty: the penalty makes the objective strongly convex, so that W is then known to
    TOLERANCE (Boyd and Vandenberghe, Convex Optimization, 2004, section 9.1). No fixed norm of the gradient could say
    so: at C = 1e6 the penalty's own lies below any, and whatever separates the samples would pass.

    Args:
        parts: Samples; their labels are classes 0 ... K - 1, or from 0 to 1 for a single output.
        outputs: K.
    """

    def __init__(self, parts: Sequence[Embedded], outputs: int) -> None:
        self.outputs = outputs
        self.y = torch.cat([part.y for part in parts])
        self.n = len(self.y)
        self.features = _Features([part.x for part in parts])

    def with_targets(self, y: Tensor) -> "LogisticRegression":
        """The regression of other labels, (n,), of the same samples."""
        other = copy(self)
        other.y = y
        return other

    def solve(self, c: float, start: Affine | None = None) -> Affine:
        """Find the minimum for one C.

        Args:
            c: Inverse of the strength of the penalty, above 0.
            start: A model to start at, such as that of the C before on the same samples.
        """
        features, penalty = self.features, 1 / (c * self.n)
        weight, bias = features.start(start, self.outputs)
        logits = features.times(weight, bias)
        loss, slopes = self._loss(logits)
        if start is not None and loss + penalty / 2 * weight.square().sum() > self._loss(torch.zeros_like(logits))[0]:
            return self.solve(c)  # sure of itself and wrong: Newton would crawl out of there
        before, solved = torch.inf, False
        for _ in range(_STEPS):
            objective = loss + penalty / 2 * weight.square().sum()
            by_weight, by_bias = features.pulled(slopes)
            gradient = by_weight + penalty * weight, by_bias
            bend = self._bend(logits)
            tolerance = TOLERANCE * penalty * weight.norm()
            norm, bias_norm = gradient[0].norm(), (by_bias / bend.total).norm()  # of the bias: how far, about
            if solved := bool(norm <= tolerance and bias_norm <= TOLERANCE * (1 + bias.norm())):
                break
            step = self._newton_step(bend, gradient, penalty, objective, tolerance)
            if solved := bool(step.decrement <= 1e-14 * objective and norm > before / 2):
                break  # sums of float64 are not more exact
            before = norm
            size, (loss, slopes) = self._shortened(logits, weight, step, penalty, objective)
            if size == 0:
                break
            logits = logits + size * step.logits
            weight, bias = weight + size * step.weight, bias + size * step.bias
        if not solved and start is not None:
            return self.solve(c)
        if not solved:
            warnings.warn(f"logreg did not reach its optimum for C={c:g}", stacklevel=3)
        return features.affine(weight, bias if self.outputs == 1 else bias - bias.mean())  # what all share says nothing

    def _loss(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss, and its gradient by the logits (n, K); both exact to the last digits where the loss is tiny."""
        if self.outputs == 1:
            there = self.y[:, None].double()
            absent = 1 - there
            loss = there * nn.functional.softplus(-logits) + absent * nn.functional.softplus(logits)
            return loss.mean(), (absent * logits.sigmoid() - there * logits.neg().sigmoid()) / self.n
        label = self.y[:, None]
        against = (logits - logits.gather(1, label)).scatter(1, label, -torch.inf).logsumexp(1)
        slopes = logits.softmax(1).scatter(1, label, 0)
        slopes = slopes.scatter(1, label, -slopes.sum(1, keepdim=True))  # what 1 - p would lose near p = 1
        return nn.functional.softplus(against).mean(), slopes / self.n

    def _bend(self, logits: Tensor) -> "_Bend":
        p = logits.sigmoid() if self.outputs == 1 else logits.softmax(1)
        diagonal = (p * (logits.neg().sigmoid() if self.outputs == 1 else 1 - p)) / self.n
        return _Bend(p, diagonal, diagonal.sum(0).clamp(min=torch.finfo(torch.float64).tiny))

    def _newton_step(
        self, bend: "_Bend", gradient: tuple[Tensor, Tensor], penalty: float, objective: Tensor, tolerance: Tensor
    ) -> "_Step":
        """Solve H s = -g by conjugate gradients, the more exactly the nearer the optimum.

        Args:
            bend: The second derivative of the loss by the logits.
            gradient: Gradient by the weight (K, R) and by the bias (K,).
            penalty: Factor of ||W||^2 / 2 in the objective.
            objective: The value of the objective here, a scalar.
            tolerance: A norm of the residual that is of no consequence.
        """
        scale = bend.total[:, None] * self.features.spread + penalty  # (K, R), the diagonal of H along the axes, about

        def conditioned(by_weight: Tensor, by_bias: Tensor) -> tuple[Tensor, Tensor]:
            return self.features.divided(by_weight, scale), by_bias / bend.total

        residual, residual_bias = -gradient[0], -gradient[1]
        to, to_bias = conditioned(residual, residual_bias)
        square = first = _dot(residual, to) + _dot(residual_bias, to_bias)
        step = _Step(torch.zeros_like(residual), torch.zeros_like(residual_bias), torch.zeros_like(bend.p), square)
        target = first * (first / objective).clamp(1e-10, 0.01)
        for _ in range(_PRODUCTS):
            moved, turned, turned_bias = self.features.turned(to, to_bias, bend.turned)
            turned += penalty * to
            size = square / (_dot(to, turned) + _dot(to_bias, turned_bias))
            step.weight += size * to
            step.bias += size * to_bias
            step.logits += size * moved
            residual, residual_bias = residual - size * turned, residual_bias - size * turned_bias
            next_to, next_bias = conditioned(residual, residual_bias)
            before, square = square, _dot(residual, next_to) + _dot(residual_bias, next_bias)
            if square <= target or (residual.norm() <= tolerance / 4 and next_bias.norm() <= TOLERANCE / 4):
                break
            to, to_bias = next_to + square / before * to, next_bias + square / before * to_bias
        step.decrement = -_dot(gradient[0], step.weight) - _dot(gradient[1], step.bias)
        return step

    def _shortened(
        self, logits: Tensor, weight: Tensor, step: "_Step", penalty: float, objective: Tensor
    ) -> tuple[float, tuple[Tensor, Tensor]]:
        """The share of a step by which the objective falls enough (Armijo), and the loss there; 0: by none."""
        size = 1.0
        while size > 1e-10:
            loss = self._loss(logits + size * step.logits)
            value = loss[0] + penalty / 2 * (weight + size * step.weight).square().sum()
            if value <= objective * (1 + 1e-14) - 1e-4 * size * step.decrement:
                return size, loss
            size /= 2
        return 0.0, self._loss(logits)


@dataclass(frozen=True)
class _Bend:
    """The second derivative of the mean loss by the logits.

    Attributes:
        p: Probabilities, (n, K).
        diagonal: Second derivative by each logit alone, (n, K).
        total: Its sum over the samples, (K,).
    """

    p: Tensor
    diagonal: Tensor
    total: Tensor

    def turned(self, rows: slice, moved: Tensor) -> Tensor:
        """How the gradient by the logits of some rows changes as these move, (rows, K) each."""
        if moved.shape[1] == 1:
            return self.diagonal[rows] * moved
        weighted = self.p[rows] * moved
        return (weighted - self.p[rows] * weighted.sum(1, keepdim=True)) / len(self.p)


@dataclass
class _Step:
    """A step of Newton: what it adds to the weight, the bias and the logits, and how much the slope promises."""

    weight: Tensor
    bias: Tensor
    logits: Tensor
    decrement: Tensor


class _Features:
    """Standardised features (n, R) in float64, piece by piece, and their principal axes.

    With more samples than features R = D. Else they are the coordinates in the space that the samples span: R <= n.

    Attributes:
        spread: Variance along each axis, (R,).
        axes: The axes as columns, (R, R); None: the features lie along them.
    """

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self.parts, self.n = parts, sum(map(len, parts))
        self.spanned: Tensor | None = None  # (n, R), in the coordinates of `span`
        self.span: Tensor | None = None  # (D, R), orthonormal columns; None: all of the space
        self.axes: Tensor | None = None
        features = parts[0].shape[1]
        self.mean = sum((x.double().sum(0) for x in self._raw()), torch.zeros(())) / self.n
        variance = sum(((x - self.mean).square_().sum(0) for x in self._raw()), torch.zeros(())) / self.n
        # as scikit-learn's StandardScaler decides what is constant but for rounding; 1 / inf leaves such a feature out
        noise = (self.n * self.mean * _EPS).square() + self.n * _EPS * variance
        self.std = torch.where(variance <= noise, torch.inf, variance.sqrt())
        if self.n <= features:
            x = torch.cat([piece for _, piece in self.pieces()])
            spread, left = torch.linalg.eigh(x @ x.T)
            spanning = spread > spread[-1].clamp(min=1) * self.n * _EPS
            spread, left = spread[spanning], left[:, spanning]
            self.spanned, self.span, self.spread = left * spread.sqrt(), x.T @ left / spread.sqrt(), spread / self.n
            return
        moment = sum((piece.T @ piece for _, piece in self.pieces()), torch.zeros(())) / self.n
        self.spread, self.axes = torch.linalg.eigh(moment)
        self.spread.clamp_(min=0)

    def _raw(self) -> Iterator[Tensor]:
        for part in self.parts:
            yield from _split(part)

    def pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows, and their features."""
        first = 0
        for x in self._raw() if self.spanned is None else _split(self.spanned):
            yield slice(first, first + len(x)), (x - self.mean).div_(self.std) if self.spanned is None else x
            first += len(x)

    def times(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Logits (n, K) of a model on these features."""
        return torch.cat([torch.addmm(bias, piece, weight.T) for _, piece in self.pieces()])

    def pulled(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient by the weight (K, R) and the bias (K,) from that by the logits (n, K)."""
        return sum((slopes[rows].T @ piece for rows, piece in self.pieces()), torch.zeros(())), slopes.sum(0)

    def turned(
        self, weight: Tensor, bias: Tensor, hessian: Callable[[slice, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of a model, and the gradient of `pulled` from what `hessian` makes of them, in one pass."""
        logits, by_weight, by_bias = [], torch.zeros_like(weight), torch.zeros_like(bias)
        for rows, piece in self.pieces():
            logits.append(torch.addmm(bias, piece, weight.T))
            slopes = hessian(rows, logits[-1])
            by_weight += slopes.T @ piece
            by_bias += slopes.sum(0)
        return torch.cat(logits), by_weight, by_bias

    def divided(self, weight: Tensor, scale: Tensor) -> Tensor:
        """A weight (K, R) divided by a scale (K, R) along the axes."""
        return weight / scale if self.axes is None else (weight @ self.axes / scale) @ self.axes.T

    def start(self, model: Affine | None, outputs: int) -> tuple[Tensor, Tensor]:
        """Weight (K, R) and bias (K,) on these features of a model on raw ones, as far as the samples tell; else 0."""
        if model is None:
            return self.mean.new_zeros(outputs, len(self.spread)), self.mean.new_zeros(outputs)
        weight = torch.where(self.std.isinf(), 0, model.weight * self.std)
        bias = model.bias + model.weight @ (self.mean - model.centre)
        return (weight if self.span is None else weight @ self.span), bias

    def affine(self, weight: Tensor, bias: Tensor) -> Affine:
        """The model on raw features."""
        weight = (weight if self.span is None else weight @ self.span.T) / self.std
        centre = self.mean.float().double()
        return Affine(weight, bias - weight @ (self.mean - centre), centre)


def _split(x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x, max(1, _CHUNK // max(1, x.shape[1])))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum()
