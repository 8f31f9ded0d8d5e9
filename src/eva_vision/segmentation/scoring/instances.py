"""Nuclei one by one: from a map of classes to instances, and how well those of two maps agree.

An instance map is integer (H, W), 0 where there is no object and another number for each object. The scores know no
classes; two empty maps have none (NaN).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from eva_vision.segmentation.contracts import IGNORE


def label_components(class_map: NDArray[np.integer], background: int | None) -> NDArray[np.int32]:
    """Number the connected parts of every class; pixels that touch at a corner alone are not connected.

    Args:
        class_map: Class of each pixel or `IGNORE`, (H, W).
        background: The class that is no object; None: every class is.

    Returns:
        Instances, (H, W), numbered from 1.

    Examples:
        >>> label_components(np.array([[1, 1, 0, 2], [0, 0, 0, 2]]), background=0).tolist()
        [[1, 1, 0, 2], [0, 0, 0, 2]]
    """
    instances = np.zeros(class_map.shape, np.int32)
    count = 0
    for label in np.flatnonzero(np.bincount(class_map.ravel())):
        if label not in (background, IGNORE):
            parts, n = ndimage.label(class_map == label)
            instances += np.where(parts > 0, parts + count, 0).astype(np.int32)
            count += n
    return instances


def part_touching(instances: NDArray[np.integer], apart: int = 5) -> NDArray[np.int32]:
    """Cut instances at their waists: a watershed of the distance to their edge.

    Each maximum of the distance that is the greatest within `apart` pixels grows into a part. The parts are the trees
    of a minimum spanning forest that is rooted in the maxima (Cousty et al. 2009, Watershed cuts, TPAMI 31(8)).

    Args:
        instances: (H, W).
        apart: Least distance between the centres of two parts, in pixels.

    Returns:
        Instances, (H, W), numbered from 1; none is lost and none joins another.
    """
    pixels = np.flatnonzero(instances)
    if not len(pixels):
        return np.zeros(instances.shape, np.int32)
    # the edge runs between instances that touch as well
    inside = (ndimage.minimum_filter(instances, 3) == ndimage.maximum_filter(instances, 3)) & (instances > 0)
    # rounded, for a ridge must be level
    height = np.round(ndimage.gaussian_filter(ndimage.distance_transform_edt(inside), 1), 3)
    tops, _ = ndimage.label(
        (height == ndimage.maximum_filter(height, 2 * apart + 1)) & (instances > 0), np.ones((3, 3))
    )
    _, roots = np.unique(tops.ravel()[pixels], return_index=True)
    roots = roots[tops.ravel()[pixels][roots] > 0]  # one pixel of each

    number = np.zeros(instances.shape, np.intp)
    number.ravel()[pixels] = np.arange(len(pixels))
    along = []
    for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        same = (instances[one] == instances[other]) & (instances[one] > 0)
        along.append(np.stack([number[one][same], number[other][same]]))
    pairs = np.concatenate(along, axis=1)  # neighbours in one instance, (2, E)
    heights = height.ravel()[pixels]
    lower, upper = np.sort(heights[pairs], axis=0)
    # from the top down, each pixel by its steepest way up; at least 1, so that a root's edge, 0.5, goes first
    depths = 2 + heights.max() - lower - 1e-6 * upper
    root = np.full(len(roots), len(pixels))
    edges = (np.concatenate([pairs[0], roots]), np.concatenate([pairs[1], root]))
    graph = coo_array((np.concatenate([depths, np.full(len(roots), 0.5)]), edges), shape=(len(pixels) + 1,) * 2).tocsr()
    forest = minimum_spanning_tree(graph)
    _, trees = connected_components(forest[:-1, :-1], directed=False)
    parts = np.zeros(instances.shape, np.int32)
    parts.ravel()[pixels] = trees + 1
    return parts


def aji(truth: NDArray[np.integer], prediction: NDArray[np.integer], counted: NDArray[np.bool_] | None = None) -> float:
    """Aggregated Jaccard index.

    Each true object takes the predicted one with the greatest IoU, which others may take too; the score is the sum of
    the intersections over the sum of the unions and of the predicted objects that nobody took.
    Source: Kumar et al. 2017, A dataset and a technique for generalized nuclear segmentation, TMI 36(7), algorithm 1.

    Args:
        truth: Instances, (H, W).
        prediction: Instances, (H, W).
        counted: The pixels that count, (H, W); all unless given.

    Returns:
        0 to 1, NaN where both maps are empty.

    Raises:
        ValueError: If the shapes do not fit.
    """
    pairs = _overlaps(truth, prediction, counted)
    if not pairs.truth.any() and not pairs.prediction.any():
        return float("nan")
    order = np.lexsort((-pairs.common / pairs.union, pairs.row))  # by true object, best first
    best = order[np.unique(pairs.row[order], return_index=True)[1]]
    missed = np.delete(pairs.truth, pairs.row[best]).sum()
    unclaimed = np.delete(pairs.prediction, pairs.column[best]).sum()
    return float(pairs.common[best].sum() / (pairs.union[best].sum() + missed + unclaimed))


def panoptic_quality(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], counted: NDArray[np.bool_] | None = None
) -> tuple[float, float, float]:
    """Panoptic quality, detection quality (F1 of the objects) and segmentation quality (mean IoU of the matched).

    Objects match where their IoU is over 0.5, which no object can have with two.
    Source: Kirillov et al. 2019, Panoptic segmentation, CVPR.

    Args:
        truth: Instances, (H, W).
        prediction: Instances, (H, W).
        counted: The pixels that count, (H, W); all unless given.

    Returns:
        0 to 1 each; NaN where both maps are empty, and for the segmentation quality where nothing matches.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> quality, detection, matched = panoptic_quality(np.array([1, 1, 0, 2]), np.array([1, 1, 0, 0]))
        >>> f"{quality:.3f} = {detection:.3f} x {matched:.3f}"
        '0.667 = 0.667 x 1.000'
    """
    pairs = _overlaps(truth, prediction, counted)
    objects = int(np.count_nonzero(pairs.truth) + np.count_nonzero(pairs.prediction))
    matched = 2 * pairs.common > pairs.union
    if not objects:
        return float("nan"), float("nan"), float("nan")
    total, hits = float((pairs.common / pairs.union)[matched].sum()), int(matched.sum())
    return 2 * total / objects, 2 * hits / objects, total / hits if hits else float("nan")


@dataclass(frozen=True)
class _Overlaps:
    """Areas of the objects of two maps, and of what they share.

    Attributes:
        truth: Area of each true object by its number, 0 where there is none.
        prediction: The same of the predicted ones.
        row: Number of the true object of each pair that overlaps, (K,), ascending.
        column: Number of the predicted one, (K,).
        common: Area of the intersection, (K,).
        union: Area of the union, (K,).
    """

    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    common: NDArray[np.int64]
    union: NDArray[np.int64]


def _overlaps(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], counted: NDArray[np.bool_] | None
) -> _Overlaps:
    if prediction.shape != truth.shape:
        raise ValueError(f"Expected maps of shape {truth.shape}, but got {prediction.shape}.")
    if counted is not None and counted.shape != truth.shape:
        raise ValueError(f"Expected counted of shape {truth.shape}, but got {counted.shape}.")
    true, called = (m.ravel() if counted is None else m[counted] for m in (truth, prediction))
    areas, called_areas = (np.bincount(numbers, minlength=1) for numbers in (true, called))
    areas[0] = called_areas[0] = 0
    both = (true > 0) & (called > 0)
    pairs, common = np.unique(true[both].astype(np.int64) * len(called_areas) + called[both], return_counts=True)
    row, column = np.divmod(pairs, len(called_areas))
    return _Overlaps(areas, called_areas, row, column, common, areas[row] + called_areas[column] - common)
