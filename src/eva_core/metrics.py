"""Metrics of a classifier: one set of names, three ways to compute them.

`evaluate` gives the values that are reported, by torchmetrics. `weighted` gives the same values under many sample
weightings at once, for the bootstrap. `selection_metric` gives one of them for several runs at once, cheaply enough to
be called after every epoch.

- `balanced_accuracy`: mean recall over the classes that occur in the targets.
- `accuracy`: share of images that are right.
- `auroc`: of the second class where there are two, else one-vs-rest, the mean over classes that are defined.
- `f1`: macro; the mean over classes that occur in the targets or the predictions.
- `ece`: expected calibration error of the predicted class, 15 bins, L1; for two classes too.

A class that is absent leaves its own values undefined (None here, NaN in arrays) and the means go over the others.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_recall,
)

from eva_core.errors import UsageError
from eva_core.metric_names import NAMES

_BINS = 15
_BLOCK = 2**18  # weights handled at a time: 2 MB of float64 stay in cache


def keys(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of all values that `evaluate` and `weighted` return, in order."""
    return (*NAMES, *(f"{name}/{label}" for name in ("recall", "f1", "auroc") for label in classes))


def probabilities(logits: Tensor) -> Tensor:
    """Class probabilities from logits.

    Args:
        logits: (N, C), or (N, 1) for the logit of the second of two classes.

    Returns:
        float32 (N, C), with C = 2 for a single logit.
    """
    if logits.dtype != torch.float64:  # a head that gives these wants ties to stay ties
        logits = logits.float()
    if logits.shape[-1] == 1:
        # sigmoid(-x) keeps the digits that 1 - sigmoid(x) loses near 1
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=-1).float()
    return logits.softmax(dim=-1).float()


def selection_metric(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A main metric for several runs at once, to choose a checkpoint by.

    Args:
        name: One of `NAMES`. Values in `LOWER_IS_BETTER` are returned as they are, not negated.

    Returns:
        Function of logits (R, N, C), or (R, N, 1) of a binary head, and targets (N,); gives (R,), NaN where undefined.

    Raises:
        UsageError: If there is no such metric.
    """
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "balanced_accuracy": _balanced_accuracy,
        "accuracy": _accuracy,
        "auroc": partial(_per_run, _auroc),
        "f1": _f1,
        "ece": partial(_per_run, _ece),
    }
    if name not in functions:
        raise UsageError(f"Expected metric to be one of {', '.join(NAMES)}, but got {name}.")
    return functions[name]


def evaluate(scores: Tensor, targets: Tensor, classes: Sequence[str]) -> dict[str, float | None]:
    """All metrics of one run, by torchmetrics.

    Args:
        scores: Class probabilities, (N, C).
        targets: Class indices, (N,).
        classes: The C class names.

    Returns:
        Value by name: the main metrics, then `recall/<class>`, `f1/<class>` and `auroc/<class>`; None where undefined.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check(scores.shape, targets.shape, classes)
    if len(targets) == 0:
        return dict.fromkeys(keys(classes))
    count = len(classes)
    predictions = scores.argmax(dim=1)
    in_targets = torch.bincount(targets, minlength=count) > 0
    in_either = in_targets | (torch.bincount(predictions, minlength=count) > 0)
    # torchmetrics gives 0 for what is not defined, and its macro recall counts classes that are only predicted
    recalls = _mask(multiclass_recall(predictions, targets, count, average=None), in_targets)
    f1s = _mask(multiclass_f1_score(predictions, targets, count, average=None), in_either)
    aurocs = [_none(_auroc(scores[:, [c]], targets == c)) for c in range(count)]
    main = (
        _mean(recalls),
        multiclass_accuracy(predictions, targets, count, average="micro").item(),
        aurocs[1] if count == 2 else _mean(aurocs),
        _mean(f1s),
        _ece(scores, targets).item(),
    )
    return dict(zip(keys(classes), (*main, *recalls, *f1s, *aurocs), strict=True))


def weighted(
    scores: NDArray[np.floating],
    targets: NDArray[np.integer],
    classes: Sequence[str],
    weights: NDArray,
    names: Sequence[str] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """All metrics of one run under many weightings of the samples.

    Args:
        scores: Class probabilities, (N, C).
        targets: Class indices, (N,).
        classes: The C class names.
        weights: Non-negative sample weights, (draws, N); all ones give what `evaluate` gives.
        names: The metrics that are wanted; all of `keys` unless given. AUROC is most of the work.

    Returns:
        Values (draws,) by name, in the order of `keys`; NaN where undefined in a draw.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check(scores.shape, targets.shape, classes)
    if weights.ndim != 2 or weights.shape[1] != len(targets):
        raise ValueError(f"Expected weights to have shape (draws, {len(targets)}), but got {weights.shape}.")
    count = len(classes)
    predictions, confidences = scores.argmax(axis=1), scores.max(axis=1, initial=0).astype(np.float32)
    # torchmetrics' own edges, so that no sample falls into another bin; a confidence of 1 has a bin to itself
    edges = torch.linspace(0, 1, _BINS + 1)
    bins = (torch.bucketize(torch.from_numpy(confidences), edges, right=True) - 1).numpy()
    truth, predicted = np.eye(count)[targets], np.eye(count)[predictions]  # (N, C)
    # of a bin only the sum of (hit - confidence) matters: ECE = sum over bins |that| / all weight
    gaps = np.eye(_BINS + 1)[bins] * ((predictions == targets) - confidences.astype(np.float64))[:, None]  # (N, bins)
    columns = np.concatenate([truth, predicted, truth * predicted, gaps], axis=1)
    splits = [count, 2 * count, 3 * count]
    wanted = keys(classes) if names is None else names
    ranked = any(name.startswith("auroc") for name in wanted)
    pairs = [_Pairs(scores[:, c], targets == c) for c in range(count if ranked else 0)]

    size = max(1, _BLOCK // max(1, len(targets)))
    blocks = []
    for start in range(0, len(weights), size):
        block = weights[start : start + size].astype(np.float64)  # (d, N)
        support, called, hits, gap = np.split(block @ columns, splits, axis=1)  # (d, C) three times, (d, bins)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is how undefined becomes NaN
            total = support.sum(axis=1)
            recalls, f1s = hits / support, 2 * hits / (support + called)
            aurocs = np.stack([p.auroc(block) for p in pairs], axis=1) if ranked else np.full(support.shape, np.nan)
            main = (
                _nanmean(recalls),
                hits.sum(axis=1) / total,
                aurocs[:, 1] if count == 2 else _nanmean(aurocs),
                _nanmean(f1s),
                np.abs(gap).sum(axis=1) / total,
            )
        blocks.append(np.column_stack([*main, recalls, f1s, aurocs]))
    columns = np.concatenate(blocks).T if blocks else np.empty((len(keys(classes)), 0))
    return {name: values for name, values in zip(keys(classes), columns, strict=True) if name in wanted}


class _Pairs:
    """Positives and negatives of one class, sorted once; AUROC is the share of pairs in order, ties counting half."""

    def __init__(self, scores: NDArray, positive: NDArray[np.bool_]) -> None:
        order = np.argsort(scores)
        self.positives, self.negatives = order[positive[order]], order[~positive[order]]
        ascending = scores[self.negatives]
        self.below = np.searchsorted(ascending, scores[self.positives], side="left")
        self.up_to = np.searchsorted(ascending, scores[self.positives], side="right")

    def auroc(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights (d, N) -> AUROC (d,), NaN where a side has no weight."""
        positive = weights.take(self.positives, axis=1)
        negative = np.zeros((len(weights), len(self.negatives) + 1))
        np.cumsum(weights.take(self.negatives, axis=1), axis=1, out=negative[:, 1:])
        twice = negative.take(self.below, axis=1)
        twice += negative.take(self.up_to, axis=1)
        return np.einsum("dp,dp->d", positive, twice) / (2 * positive.sum(axis=1) * negative[:, -1])


def _predictions(logits: Tensor) -> Tensor:
    return (logits[..., 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(dim=-1)


def _counts(logits: Tensor, targets: Tensor) -> tuple[NDArray, NDArray, NDArray]:
    """Logits (R, N, C or 1), targets (N,) -> counts of hits (R, C), of predictions (R, C) and of targets (R, C)."""
    # counts, so that equal runs tie exactly; numpy, as threaded kernels on so little stall when the machine is busy
    runs, count = len(logits), max(2, logits.shape[-1])
    cells = _predictions(logits).cpu().numpy() + targets.cpu().numpy() * count  # (R, N)
    cells += (np.arange(runs) * count**2)[:, None]
    confusion = np.bincount(cells.ravel(), minlength=runs * count**2).reshape(runs, count, count)
    return confusion.diagonal(axis1=1, axis2=2), confusion.sum(axis=1), confusion.sum(axis=2)


def _balanced_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    hits, _, support = _counts(logits, targets)
    return _mean_ratio(hits, support)


def _accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    return (_predictions(logits) == targets).float().mean(dim=1)


def _f1(logits: Tensor, targets: Tensor) -> Tensor:
    hits, called, support = _counts(logits, targets)
    return _mean_ratio(2 * hits, called + support)


def _mean_ratio(part: NDArray, whole: NDArray) -> Tensor:
    """(R, C) each -> (R,): mean of part / whole over the classes where whole is not 0; NaN where there are none."""
    with np.errstate(invalid="ignore"):
        return torch.from_numpy((part / np.maximum(whole, 1)).sum(axis=1) / (whole > 0).sum(axis=1)).float()


def _per_run(metric: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
    return torch.stack([metric(probabilities(run), targets) for run in logits])


def _auroc(scores: Tensor, targets: Tensor) -> Tensor:
    """Probabilities (N, C), or (N, 1) of the positive class alone -> scalar, NaN where undefined."""
    if scores.shape[1] > 2:
        return torch.stack([_auroc(scores[:, [c]], targets == c) for c in range(scores.shape[1])]).nanmean()
    if len(targets.unique()) < 2:
        return scores.new_tensor(torch.nan)
    return binary_auroc(scores[:, -1], targets.long())


def _ece(scores: Tensor, targets: Tensor) -> Tensor:
    return multiclass_calibration_error(scores, targets, scores.shape[1], n_bins=_BINS, norm="l1")


def _check(scores: Sequence[int], targets: Sequence[int], classes: Sequence[str]) -> None:
    expected = (*targets, len(classes))
    if len(targets) != 1 or tuple(scores) != expected:
        raise ValueError(f"Expected scores to have shape {expected}, but got {tuple(scores)}.")


def _none(value: Tensor) -> float | None:
    return None if value.isnan() else value.item()


def _mask(values: Tensor, defined: Tensor) -> list[float | None]:
    return [value if keep else None for value, keep in zip(values.tolist(), defined.tolist(), strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _nanmean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(d, C) -> (d,) without numpy's warning for rows of NaN alone."""
    return np.nansum(values, axis=1) / (~np.isnan(values)).sum(axis=1)
