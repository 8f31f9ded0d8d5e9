"""Metrics of a classifier: one set of names, three ways to compute them.

`evaluate` gives the values that are reported, by torchmetrics. `weighted` gives the same values under many sample
weightings at once, for the bootstrap. `selection_metric` gives one of them for several runs at once, cheaply enough to
be called after every epoch.

- `balanced_accuracy`: mean recall over the classes that occur in the targets.
- `accuracy`: share of images that are right.
- `auroc`: of the second class where there are two, else one-vs-rest, the mean over classes that are defined. Images are
  ranked by log-odds, as float32 probabilities tie once they round to 0 or 1.
- `f1`: macro; the mean over classes that occur in the targets or the predictions.
- `ece`: expected calibration error of the predicted class, 15 bins, L1; for two classes too.
- `auprc`: average precision, of the classes that `auroc` is of; ranked as there.
- `brier`: mean square of what the probabilities are off by, of the second class where there are two, else summed over
  the classes (Brier, Monthly Weather Review 78, 1950).
- `ece5`: the same of 5 bins, see `eva_core.classification.calibration_bins`; only where a protocol asks for it.
- `quadratic_kappa`: see `eva_core.classification.kappa`; it has a meaning where the classes have an order.

A class that no image has leaves its own values undefined (None here, NaN in arrays) and the means go over the others.
A class that images have but a weighting leaves without weight leaves the means undefined as well: without a hard class
they would answer an easier question. NaN among the scores leaves everything undefined.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_recall,
)

from eva_core.classification.calibration_bins import BINS, calibration_error, gap_columns
from eva_core.classification.kappa import quadratic_kappa
from eva_core.classification.metric_names import ECE5, KAPPA, NAMES
from eva_core.classification.ranked import RankedClass
from eva_core.errors import UsageError

Counts = NDArray[np.int64]
_BLOCK = 2**18  # weights handled at a time: 2 MB of float64 stay in cache


def keys(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of all values that `evaluate` and `weighted` return, in order."""
    return (*NAMES, *(f"{name}/{label}" for name in ("recall", "f1", "auroc", "auprc") for label in classes))


def probabilities(logits: Tensor) -> Tensor:
    """Class probabilities from logits.

    Args:
        logits: (N, C), or (N, 1) for the logit of the second of two classes.

    Returns:
        float32 (N, C), with C = 2 for a single logit.

    Examples:
        >>> probabilities(torch.tensor([[0.0]])).tolist()
        [[0.5, 0.5]]
    """
    if logits.dtype != torch.float64:  # a head that gives these wants ties to stay ties
        logits = logits.float()
    if logits.shape[-1] == 1:
        # sigmoid(-x) keeps the digits that 1 - sigmoid(x) loses near 1
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=-1).float()
    return logits.softmax(dim=-1).float()


def log_odds(logits: Tensor) -> Tensor:
    """Log-odds of each class against all others, log p - log(1 - p): exact where the probability rounds to 0 or 1.

    Args:
        logits: (N, C), or (N, 1) for the logit of the second of two classes.

    Returns:
        float32 (N, C), with C = 2 for a single logit; ascending in the probability. They are computed in float64 and
        then rounded, so that what ties but for the order of a sum ties.
    """
    logits = logits.double()
    if logits.shape[-1] == 1:
        return torch.cat([-logits, logits], dim=-1).float()
    ascending, order = logits.sort(dim=-1)  # so that images with the same logits in other classes tie exactly
    shares = ascending - ascending.logsumexp(dim=-1, keepdim=True)
    # 1 - p loses nothing where p is at most a half, which all but the greatest are; of that the others are summed
    odds = shares - torch.log1p(-shares.exp())
    odds[:, -1] = ascending[:, -1] - ascending[:, :-1].logsumexp(dim=-1)
    return torch.empty_like(odds).scatter_(-1, order, odds).float()


def selection_metric(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A main metric for several runs at once, to choose a checkpoint by.

    Args:
        name: One of `NAMES`. Where lower is better, values are returned as they are, not negated.

    Returns:
        Function of logits (R, N, C), or (R, N, 1) of a binary head, and targets (N,); gives (R,), NaN where undefined.

    Raises:
        UsageError: If there is no such metric.
    """
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "balanced_accuracy": _balanced_accuracy,
        "accuracy": _accuracy,
        "auroc": partial(_per_run, partial(_ranked, binary_auroc), log_odds),
        "f1": _f1,
        "ece": partial(_per_run, _ece, probabilities),
        "auprc": partial(_per_run, partial(_ranked, binary_average_precision), log_odds),
        "brier": partial(_per_run, _brier, probabilities),
        KAPPA: partial(_per_run, _kappa, probabilities),
        ECE5: partial(_per_run, _ece5, probabilities),
    }
    if name not in functions:
        raise UsageError(f"Expected metric to be one of {', '.join(NAMES)}, but got {name}.")
    return functions[name]


def evaluate(
    scores: Tensor, targets: Tensor, classes: Sequence[str], ranking: Tensor | None = None
) -> dict[str, float | None]:
    """All metrics of one run, by torchmetrics.

    Args:
        scores: Class probabilities, (N, C).
        targets: Class numbers, (N,).
        classes: The C class names.
        ranking: What orders the images for AUROC and AUPRC of each class, as `log_odds` gives it, (N, C); the scores
            unless given.

    Returns:
        Value by name: the main metrics, then recall, F1, AUROC and AUPRC of each, as `recall/<class>`; None where
        undefined.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> scores = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
        >>> values = evaluate(scores, torch.tensor([0, 0, 1, 1]), ["benign", "tumour"])
        >>> values["balanced_accuracy"], values["auroc"], values["recall/benign"]
        (0.75, 0.75, 1.0)
    """
    _check(scores.shape, targets.shape, classes)
    ranking = scores if ranking is None else ranking
    _check(ranking.shape, targets.shape, classes)
    if len(targets) == 0 or scores.isnan().any() or ranking.isnan().any():
        return dict.fromkeys(keys(classes))
    count = len(classes)
    predictions = scores.argmax(dim=1)
    in_targets = torch.bincount(targets, minlength=count) > 0
    in_either = in_targets | (torch.bincount(predictions, minlength=count) > 0)
    # torchmetrics gives 0 for what is not defined, and its macro recall counts classes that are only predicted
    recalls = _defined(multiclass_recall(predictions, targets, count, average=None), in_targets)
    f1s = _defined(multiclass_f1_score(predictions, targets, count, average=None), in_either)
    aurocs, auprcs = (
        [_none(_ranked(area, ranking[:, [c]], targets == c)) for c in range(count)]
        for area in (binary_auroc, binary_average_precision)
    )
    main = (
        _mean(recalls),
        multiclass_accuracy(predictions, targets, count, average="micro").item(),
        aurocs[1] if count == 2 else _mean(aurocs),
        _mean(f1s),
        _ece(scores, targets).item(),
        auprcs[1] if count == 2 else _mean(auprcs),
        _brier(scores, targets).item(),
        _none(_kappa(scores, targets)),
        _ece5(scores, targets).item(),
    )
    return dict(zip(keys(classes), (*main, *recalls, *f1s, *aurocs, *auprcs), strict=True))


def weighted(
    scores: NDArray[np.floating],
    targets: NDArray[np.integer],
    classes: Sequence[str],
    weights: NDArray[np.number],
    names: Sequence[str] | None = None,
    ranking: NDArray[np.floating] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """All metrics of one run under many weightings of the samples.

    Args:
        scores: Class probabilities, (N, C).
        targets: Class numbers, (N,).
        classes: The C class names.
        weights: Non-negative sample weights, (draws, N); all ones give what `evaluate` gives.
        names: The metrics that are wanted; all of `keys` unless given. AUROC and AUPRC are most of the work.
        ranking: What orders the images for AUROC and AUPRC, as of `evaluate`, (N, C); the scores unless given.

    Returns:
        Values (draws,) by name, in the order of `keys`; NaN where undefined in a draw, as a class that images have is
        without weight in it.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check(scores.shape, targets.shape, classes)
    if weights.ndim != 2 or weights.shape[1] != len(targets):
        raise ValueError(f"Expected weights to have shape (draws, {len(targets)}), but got {weights.shape}.")
    ranking = scores if ranking is None else ranking
    _check(ranking.shape, targets.shape, classes)
    if np.isnan(scores).any() or np.isnan(ranking).any():
        return {name: np.full(len(weights), np.nan) for name in keys(classes) if names is None or name in names}
    wanted = keys(classes) if names is None else names
    count = len(classes)
    occurs = np.bincount(targets, minlength=count) > 0
    truth, predicted = np.eye(count)[targets], np.eye(count)[scores.argmax(axis=1)]  # (N, C)
    columns = np.concatenate([truth, predicted, truth * predicted, gap_columns(scores, targets)], axis=1)
    areas = {area for area in ("auroc", "auprc") if any(name.startswith(area) for name in wanted)}
    ranked = [RankedClass(ranking[:, c], targets == c) for c in range(count if areas else 0)]
    size = max(1, _BLOCK // max(1, len(targets)))
    blocks = [
        _block(weights[start : start + size].astype(np.float64), columns, ranked, areas, occurs)
        for start in range(0, len(weights), size)
    ]
    with np.errstate(invalid="ignore"):  # of no samples
        brier = weights @ squared_errors(scores, targets) / weights.sum(axis=1)
    values = {
        "brier": brier,
        KAPPA: quadratic_kappa(scores.argmax(axis=1), targets, weights),
        ECE5: calibration_error(ECE5, scores, targets, weights),
    }
    rest = [name for name in keys(classes) if name not in values]
    rows = np.concatenate(blocks).T if blocks else np.empty((len(rest), 0))
    values.update(zip(rest, rows, strict=True))
    return {name: values[name] for name in keys(classes) if name in wanted}


def _block(
    weights: NDArray[np.float64],
    columns: NDArray[np.float64],
    ranked: Sequence[RankedClass],
    areas: Collection[str],
    occurs: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """All metrics under some weightings but for those that need nothing of these.

    Args:
        weights: Sample weights, (d, N).
        columns: Truth, prediction and hit of each class, then the gaps of the calibration bins, (N, 3 C + bins).
        ranked: What ranks each class; empty where nobody asks for it.
        areas: Which of `auroc` and `auprc` are asked for.
        occurs: Whether images have the class, (C,).
    Returns:
        (d, values), in the order of `keys`.
    """
    count = len(occurs)
    splits = [count, 2 * count, 3 * count]
    support, called, hits, gap = np.split(weights @ columns, splits, axis=1)  # (d, C) three times, (d, bins)
    undefined = np.full(support.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is how undefined becomes NaN
        total = support.sum(axis=1)
        recalls = hits / support
        lacking = (support == 0) & occurs
        f1s = np.where(lacking, np.nan, 2 * hits / (support + called))
        aurocs = np.stack([r.auroc(weights) for r in ranked], axis=1) if "auroc" in areas else undefined
        auprcs = np.stack([r.average_precision(weights) for r in ranked], axis=1) if "auprc" in areas else undefined
        whole = np.where(lacking.any(axis=1), np.nan, 1)  # (d,), NaN where a class is lacking
        main = (
            _nanmean(recalls) * whole,
            hits.sum(axis=1) / total,
            (aurocs[:, 1] if count == 2 else _nanmean(aurocs)) * whole,
            _nanmean(f1s) * whole,
            np.abs(gap).sum(axis=1) / total,
            (auprcs[:, 1] if count == 2 else _nanmean(auprcs)) * whole,
        )
    return np.column_stack([*main, recalls, f1s, aurocs, auprcs])


def squared_errors(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> NDArray[np.float64]:
    """What the Brier score is the mean of: probabilities (N, C) and class numbers (N,) -> (N,)."""
    count = scores.shape[1]
    squares: NDArray[np.float64] = np.square(scores.astype(np.float64) - np.eye(count)[targets]).sum(axis=1)
    return squares / 2 if count == 2 else squares  # both classes are off by the same


def _predictions(logits: Tensor) -> Tensor:
    return (logits[..., 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(dim=-1)


def _counts(logits: Tensor, targets: Tensor) -> tuple[Counts, Counts, Counts]:
    """Count hits, predictions and targets by class: logits (R, N, C or 1), targets (N,) -> (R, C) each."""
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


def _mean_ratio(part: Counts, whole: Counts) -> Tensor:
    """Mean of part / whole, (R, C) each -> (R,), over the classes where whole is not 0; NaN where there are none."""
    with np.errstate(invalid="ignore"):
        return torch.from_numpy((part / np.maximum(whole, 1)).sum(axis=1) / (whole > 0).sum(axis=1)).float()


def _per_run(
    metric: Callable[[Tensor, Tensor], Tensor], scores: Callable[[Tensor], Tensor], logits: Tensor, targets: Tensor
) -> Tensor:
    return torch.stack([metric(scores(run), targets) for run in logits]).float()


def _ranked(area: Callable[[Tensor, Tensor], Tensor], scores: Tensor, targets: Tensor) -> Tensor:
    """An area by what ranks, (N, C), or (N, 1) of the positive class: a scalar, NaN where undefined."""
    if scores.shape[1] > 2:
        return torch.stack([_ranked(area, scores[:, [c]], targets == c) for c in range(scores.shape[1])]).nanmean()
    if len(torch.unique(targets)) < 2:
        return scores.new_tensor(torch.nan)
    levels, places = torch.unique(scores[:, -1], return_inverse=True)
    # places from 0 to 1: what is not between them torchmetrics takes for logits, whose sigmoid would tie again
    return area(places.double() / len(levels), targets.long())


def _brier(scores: Tensor, targets: Tensor) -> Tensor:
    return torch.tensor(squared_errors(scores.cpu().numpy(), targets.cpu().numpy()).mean())


def _kappa(scores: Tensor, targets: Tensor) -> Tensor:
    predicted, truth = scores.argmax(dim=1).cpu().numpy(), targets.cpu().numpy()
    return torch.from_numpy(quadratic_kappa(predicted, truth, np.ones((1, len(truth)))))[0]


def _ece(scores: Tensor, targets: Tensor) -> Tensor:
    return multiclass_calibration_error(scores, targets, scores.shape[1], n_bins=BINS["ece"], norm="l1")


def _ece5(scores: Tensor, targets: Tensor) -> Tensor:
    given = scores.cpu().numpy(), targets.cpu().numpy()
    return torch.from_numpy(calibration_error(ECE5, *given, np.ones((1, len(targets)))))[0]


def _check(scores: Sequence[int], targets: Sequence[int], classes: Sequence[str]) -> None:
    expected = (*targets, len(classes))
    if len(targets) != 1 or tuple(scores) != expected:
        raise ValueError(f"Expected scores to have shape {expected}, but got {tuple(scores)}.")


def _none(value: Tensor) -> float | None:
    return None if value.isnan() else value.item()


def _defined(values: Tensor, defined: Tensor) -> list[float | None]:
    return [value if keep else None for value, keep in zip(values.tolist(), defined.tolist(), strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _nanmean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes that are not NaN, (d, C) -> (d,), without numpy's warning for rows of NaN alone."""
    means: NDArray[np.float64] = np.nansum(values, axis=1) / (~np.isnan(values)).sum(axis=1)
    return means
