"""Dice and IoU of masks: per image and pooled over images, from three counts of pixels per image and class.

Of one image and class, with hits h, predicted pixels p and pixels in the target t: Dice = 2 h / (p + t), IoU =
h / (p + t - h). An image's score is the mean over the classes that count in it, background left out; a run's is the
mean over images. Pooled scores add the counts of all images up first. What is not defined is NaN, and means go over the
rest.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.metric_names import METRICS

_LABELS = 256


def counts(
    prediction: NDArray[np.integer],
    target: NDArray[np.integer],
    classes: int,
    ignore: Literal["target", "prediction"] = "target",
) -> NDArray[np.int64]:
    """Count the pixels of one image by class.

    Args:
        prediction: Class of each pixel, (H, W).
        target: Class of each pixel or `IGNORE`, (H, W).
        classes: Their number C.
        ignore: By what pixels are left out: `target`, or `prediction`, which is wrong and here to compare with numbers
            made so: what the target leaves out counts as predicted, and as in no class of the target.

    Returns:
        Hits, predicted and in the target, (3, C).

    Raises:
        ValueError: If the shapes do not fit, or a label that counts is no class.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"Expected a prediction of shape {target.shape}, but got {prediction.shape}.")
    cells = target.astype(np.intp).ravel() * _LABELS + prediction.ravel()
    table = np.bincount(cells, minlength=_LABELS**2).reshape(_LABELS, _LABELS)  # target by prediction
    if ignore == "target":
        table[IGNORE] = 0
    else:
        table[:, IGNORE] = 0
    targets, predictions = np.nonzero(table)
    highest = np.concatenate([targets[targets != IGNORE], predictions]).max(initial=0)
    if highest >= classes:
        raise ValueError(f"Expected labels below {classes}, but got {highest}.")
    return np.stack([table.diagonal()[:classes], table.sum(axis=0)[:classes], table.sum(axis=1)[:classes]])


def per_class(
    counted: NDArray[np.number], empty: Literal["ignore", "penalise"]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute Dice and IoU of every class.

    Args:
        counted: From `counts`, (..., 3, C).
        empty: A class that the target lacks: `ignore` leaves it out, as MONAI's DiceMetric does; `penalise` does so
            only where it was not predicted either, else it scores 0.

    Returns:
        Two of (..., C), NaN where left out.

    Examples:
        >>> counted = counts(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 1]]), classes=2)
        >>> dice, iou = per_class(counted, "penalise")
        >>> dice.round(3).tolist(), iou.round(3).tolist()
        ([0.667, 0.8], [0.5, 0.667])
    """
    hits, predicted, in_target = np.moveaxis(counted, -2, 0)
    union = predicted + in_target - hits
    defined = in_target > 0 if empty == "ignore" else union > 0
    dice, iou = (
        np.divide(numerator, denominator, out=np.full(hits.shape, np.nan), where=defined)
        for numerator, denominator in ((2 * hits, predicted + in_target), (hits, union))
    )
    return dice, iou


def over_classes(values: NDArray[np.floating], background: int | None) -> NDArray[np.float64]:
    """Mean over the classes that are defined, background left out: (..., C) -> (...), NaN where there are none."""
    if background is not None:
        values = np.delete(values, background, axis=-1)
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # 0 / 0 is how undefined becomes NaN
        means: NDArray[np.float64] = np.nansum(values, axis=-1) / defined.sum(axis=-1)
    return means


def weighted(
    counted: NDArray[np.integer],
    weights: NDArray[np.floating],
    classes: Sequence[str],
    background: int | None,
    empty: Literal["ignore", "penalise"],
    extra: Mapping[str, NDArray[np.floating]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Compute all metrics of one run under many weightings of the images.

    A pooled score leaves a class out where it is neither predicted nor in the target, whatever `empty` says. A class
    that targets have, but none of those with weight, is undefined, and so are the pooled means over classes: they are
    not those of the other classes. Means over images stay, as each image is scored by itself.

    Args:
        counted: From `counts`, of every image, (N, 3, C).
        weights: Non-negative weights of the images, (draws, N).
        classes: The C class names.
        background: The class that means over classes leave out; None: every class counts.
        empty: What happens to a class that the target lacks, as in `per_class`.
        extra: More scores of each image, (N,) by name, NaN where undefined.

    Returns:
        Values (draws,) by name, NaN where undefined: the main metrics, each of them as `<metric>/<class>`, the extras.

    Raises:
        ValueError: If the shapes do not fit.
    """
    extra = extra or {}
    if counted.ndim != 3 or counted.shape[1:] != (3, len(classes)):
        raise ValueError(f"Expected counts of shape (N, 3, {len(classes)}), but got {counted.shape}.")
    if weights.ndim != 2 or weights.shape[1] != len(counted):
        raise ValueError(f"Expected weights of shape (draws, {len(counted)}), but got {weights.shape}.")
    dice, iou = per_class(counted, empty)
    by_image = np.column_stack(  # (N, K)
        [over_classes(dice, background), over_classes(iou, background), dice, iou, *extra.values()]
    )
    defined = ~np.isnan(by_image)
    with np.errstate(invalid="ignore"):
        averages = (weights @ np.where(defined, by_image, 0)) / (weights @ defined.astype(np.float64))  # (draws, K)
    sums = (weights @ counted.reshape(len(counted), -1).astype(np.float64)).reshape(len(weights), 3, len(classes))
    lacking = (sums[:, 2] == 0) & (counted[:, 2].sum(axis=0) > 0)  # (draws, C)
    count = len(classes)
    pooled = [np.where(lacking, np.nan, values) for values in per_class(sums, "penalise")]
    averages[:, 2 : 2 + 2 * count][np.tile(lacking, 2)] = np.nan
    means, dices, ious, extras = np.split(averages.T, [2, 2 + count, 2 + 2 * count])
    mattering = lacking if background is None else np.delete(lacking, background, axis=1)
    whole = np.where(mattering.any(axis=1), np.nan, 1)
    main = (*means, *(over_classes(values, background) * whole for values in pooled))
    names = (*METRICS, *(f"{metric}/{label}" for metric in METRICS for label in classes), *extra)
    return dict(zip(names, (*main, *dices, *ious, *pooled[0].T, *pooled[1].T, *extras), strict=True))
