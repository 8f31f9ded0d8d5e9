"""Scores per slide, and what the label could be guessed from without looking at any tissue."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import torch

from eva_core.metrics import evaluate
from eva_core.record import Predictions

CLASSES = ("negative", "positive")


def slide_scores(predictions: Predictions, slides: Sequence[str]) -> list[dict[str, float | None]]:
    """Score slides by the mean probability of their patches, for two classes.

    Args:
        predictions: Of the patches, N.
        slides: The slide of each patch, (N,).
    Returns:
        `balanced_accuracy` and `auroc` of each run; None where undefined.
    """
    names, first, member = np.unique(slides, return_index=True, return_inverse=True)
    counts = np.bincount(member)
    targets = predictions.targets[first]
    return [_two(np.bincount(member, run[:, 1], minlength=len(names)) / counts, targets) for run in predictions.scores]


def metadata_baseline(
    train: Sequence[tuple[Hashable, int]], asked: Sequence[tuple[Hashable, int]]
) -> dict[str, float | None]:
    """Predict each slide by the share of positives among the training slides of its cohort, or its site.

    A cohort or site that train does not have gets the share of all of train.

    Args:
        train: Cohort or site, and target, of each training slide.
        asked: The same of the slides to predict.
    Returns:
        `balanced_accuracy`, a slide being called positive where the share is above one half, and `auroc`; None where
        undefined.
    """
    known = defaultdict(list)
    for name, target in train:
        known[name].append(target)
    overall = [target for _, target in train]
    scores = np.array([np.mean(known.get(name, overall)) for name, _ in asked])
    return _two(scores, np.array([target for _, target in asked]))


def _two(positive: np.ndarray, targets: np.ndarray) -> dict[str, float | None]:
    scores = torch.from_numpy(np.stack([1 - positive, positive], axis=1)).float()
    values = evaluate(scores, torch.from_numpy(targets), CLASSES)
    return {name: values[name] for name in ("balanced_accuracy", "auroc")}
