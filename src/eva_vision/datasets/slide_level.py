"""Scores per slide, and what the label could be guessed from without looking at any tissue."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import torch

from eva_core.errors import UsageError
from eva_core.metrics import evaluate
from eva_vision.datasets.tp53 import Slide, Tp53


def metadata_baseline(
    slides: Sequence[Slide], by: Literal["cohort", "site"], split: str = "test"
) -> dict[str, float | None]:
    """Predict each slide by the share of mutants among the training slides of its cohort or its site.

    A cohort or site that train does not have gets the share of all of train.

    Args:
        slides: `Tp53(...).slides`.
        by: What to predict from.
        split: The slides to predict.
    Returns:
        `balanced_accuracy`, a slide being called mutant where the share is above one half, and `auroc`; None where
        undefined.
    Raises:
        UsageError: The split, or train, has no slides.
    """
    train, asked = ([s for s in slides if s.split == name] for name in ("train", split))
    if not train or not asked:
        raise UsageError(f"Expected slides in train and {split}, but got {len(train)} and {len(asked)}.")
    known = defaultdict(list)
    for slide in train:
        known[getattr(slide, by)].append(slide.target)
    overall = [slide.target for slide in train]
    scores = np.array([np.mean(known.get(getattr(slide, by), overall)) for slide in asked])
    return _two(scores, [slide.target for slide in asked])


def slide_scores(predictions: Path, split: str = "test") -> list[dict[str, float | None]]:
    """Score slides by the mean probability of their patches.

    Args:
        predictions: `predictions.parquet` of a result on `tp53`.
        split: The slides to score.
    Returns:
        `balanced_accuracy` and `auroc` of each run, in order; None where undefined.
    Raises:
        UsageError: No patch of this split is in the file.
    """
    columns = ["id", "split", "run", "target", f"score_{Tp53.card.classes[1]}"]
    table = pq.read_table(predictions, columns=columns)
    scores: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    targets: dict[str, int] = {}
    for id, place, run, target, score in zip(*(table[name].to_pylist() for name in columns), strict=True):
        if place == split:
            slide = id.rpartition("/")[0]
            scores[run][slide].append(score)
            targets[slide] = target
    if not scores:
        raise UsageError(f"Expected patches of {split} in {predictions}, but it has none.")
    return [
        _two(np.array([np.mean(of) for of in scores[run].values()]), [targets[slide] for slide in scores[run]])
        for run in sorted(scores)
    ]


def _two(mutant: np.ndarray, targets: Sequence[int]) -> dict[str, float | None]:
    values = evaluate(
        torch.from_numpy(np.stack([1 - mutant, mutant], 1)).float(), torch.tensor(targets), Tp53.card.classes
    )
    return {name: values[name] for name in ("balanced_accuracy", "auroc")}
