"""Scores of classes of patients or slides: those of images, by the same code."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from typing_extensions import override

from eva_core.classification.metric_names import kept_metrics
from eva_core.classification.metrics import log_odds, probabilities
from eva_core.classification.predictions import Predictions, predictions_table
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.results import SplitRecord
from eva_core.statistics.intervals import Intervals
from eva_vision.slide_level.classification.outcome import Classes
from eva_vision.slide_level.contracts import SlideDataset
from eva_vision.slide_level.scoring import Example, Said, Scoring


class ClassScoring(Scoring):
    """Classes."""

    stratified = True
    by_metadata = "mean_logreg"

    @override
    def outcome(self, card: DatasetCard) -> Classes:
        return Classes(len(card.classes), card.metric)

    @override
    def targets(self, stored: np.ndarray, dataset: SlideDataset, card: DatasetCard) -> np.ndarray:
        """Numbers of the heads' classes; -1 where that is unknown, or a class that they never saw."""
        known = [card.classes.index(name) if name in card.classes else -1 for name in dataset.card.classes]
        numbers: np.ndarray = np.array([*known, -1])[stored.astype(np.int64)]
        return numbers

    @override
    def strata(self, targets: np.ndarray) -> np.ndarray:
        return targets

    @override
    def predictions(self, said: Said, card: DatasetCard) -> Predictions:
        scores, odds = _scores(said.outputs)
        ids, groups = said.ids.tolist(), said.groups.tolist()
        return Predictions(said.split, ids, groups, said.targets, scores, odds, card.classes, said.measures)

    @override
    def record(self, said: Said, card: DatasetCard) -> tuple[SplitRecord, Intervals]:
        part, (last, odds) = self.predictions(said, card), _scores(said.last)
        return part.record(kept_metrics(card), replace(part, scores=last, log_odds=odds))

    @override
    def table(self, parts: Sequence[Any], card: DatasetCard, runs: Sequence[int]) -> pa.Table:
        return predictions_table(parts, card.classes, runs)

    @override
    def examples(self, said: Said, card: DatasetCard) -> list[Example]:
        """The surest right, the surest wrong and the one whose class has the median probability, mean over runs."""
        mean = _scores(said.outputs)[0].mean(0)
        label, sure = mean.argmax(1), mean.max(1)
        right, true = label == said.targets, mean[np.arange(len(mean)), said.targets]
        chosen: dict[str, int] = {}
        for which, of in (("surest right", right), ("surest wrong", ~right)):
            if of.any():
                chosen[which] = int(np.flatnonzero(of)[sure[of].argmax()])
        order = [int(n) for n in np.argsort(true, kind="stable")]
        middle = sorted(range(len(order)), key=lambda place: abs(place - (len(order) - 1) / 2))
        left = [order[place] for place in middle if order[place] not in chosen.values()]
        if left:
            chosen["median"] = left[0]
        return [
            Example(
                which,
                n,
                str(said.ids[n]),
                float(sure[n]),
                f"{said.ids[n]}, is {card.classes[said.targets[n]]}, said {card.classes[label[n]]} {sure[n]:.2f}",
                int(label[n]),
            )
            for which, n in chosen.items()
        ]

    @override
    def of_patches(
        self, outputs: np.ndarray, example: Example, card: DatasetCard
    ) -> tuple[str, np.ndarray, tuple[float, float]]:
        """The probability of the class that was said."""
        values: np.ndarray = _scores(outputs)[0].mean(0)[:, example.label]
        return f"P({card.classes[example.label]})", values, (0.0, 1.0)


def _scores(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (R, N, K) as class probabilities and log-odds, (R, N, C) both."""
    logits = [torch.from_numpy(of_run) for of_run in outputs]
    return np.stack([probabilities(z).numpy() for z in logits]), np.stack([log_odds(z).numpy() for z in logits])
