"""Scores per slide, and what the label could be guessed from without looking at any tissue."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from scipy.special import expit

from eva_core.classification.metrics import evaluate
from eva_core.classification.predictions import Predictions

CLASSES = ("negative", "positive")


def slide_scores(predictions: Predictions, slides: Sequence[str]) -> list[dict[str, float | None]]:
    """Score slides by the mean probability of their patches, for two classes; AUROC ranks by the log-odds of the mean.

    Args:
        predictions: Predictions of N patches.
        slides: The slide of each patch, (N,).
    Returns:
        `balanced_accuracy` and `auroc` of each run; None where undefined.
    """
    names, first, member = np.unique(slides, return_index=True, return_inverse=True)
    counts = np.bincount(member)
    targets = predictions.targets[first]
    scores = []
    for odds in predictions.ranking[:, :, 1]:
        # the mean of p and that of 1 - p: slides near 0 and near 1 stay apart
        positive, negative = (np.bincount(member, expit(x), minlength=len(names)) / counts for x in (odds, -odds))
        with np.errstate(divide="ignore"):
            scores.append(_two(positive, targets, np.log(positive) - np.log(negative)))
    return scores


def metadata_baseline(
    train: Sequence[tuple[Hashable, int]], test: Sequence[tuple[Hashable, int]]
) -> dict[str, float | None]:
    """Predict each slide by the share of positives among the training slides of its cohort, or its site.

    A cohort or site that train does not have gets the share of all of train.

    Args:
        train: Cohort or site, and target, of each training slide.
        test: Cohort or site, and target, of each slide to predict.
    Returns:
        `balanced_accuracy`, a slide being called positive where the share is above one half, and `auroc`; None where
        undefined.
    """
    targets = defaultdict(list)
    for name, target in train:
        targets[name].append(target)
    overall = [target for _, target in train]
    scores = np.array([np.mean(targets.get(name, overall)) for name, _ in test])
    return _two(scores, np.array([target for _, target in test]), scores)


def _two(positive: np.ndarray, targets: np.ndarray, ranking: np.ndarray) -> dict[str, float | None]:
    scores = torch.from_numpy(np.stack([1 - positive, positive], axis=1)).float()
    by = torch.from_numpy(np.stack([-ranking, ranking], axis=1))
    values = evaluate(scores, torch.from_numpy(targets), CLASSES, by)
    return {name: values[name] for name in ("balanced_accuracy", "auroc")}
