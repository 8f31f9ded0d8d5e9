"""What the regression task works with: a head, a dataset, scores and their comparison."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.contracts.metric import Metric
from eva_core.evaluation.splits import cost, make_plan, summary
from eva_core.job import Answer, Job
from eva_core.results.predictions import identity_columns, read_split
from eva_core.statistics.comparison import Difference, Paired, difference_of
from eva_core.statistics.intervals import members
from eva_core.statistics.permutation import permutation_of_means
from eva_core.statistics.summary import measured_record
from eva_core.task import Scores


class Tinted(Dataset):
    """Synthetic patches whose value is how bright they are, in tenths; not whole numbers."""

    card = DatasetCard("tinted", "regression", metric="r2", synthetic=True, licence="MIT")

    def __init__(self, n: int = 60, metric: str = "r2") -> None:
        splits = ("train", "train", "train", "val", "test", "test")
        self.card = DatasetCard("tinted", "regression", metric=metric, synthetic=True, licence="MIT")
        rng = np.random.default_rng(0)
        self.samples = [
            Sample(f"{i}", splits[i // 2 % 6], round(float(rng.uniform(1, 9)), 2), group=f"p{i // 2}") for i in range(n)
        ]

    def image(self, sample: Sample) -> np.ndarray:
        """uint8 (32, 32, 3)."""
        assert sample.target is not None
        rng = np.random.default_rng(int(sample.id))
        return np.clip(25 * sample.target + rng.normal(0, 30, (32, 32, 3)), 0, 255).astype(np.uint8)


class Ridge:
    """Ridge regression on standardised embeddings."""

    def fit(self, x: Tensor, y: Tensor, strength: float) -> dict[str, Tensor]:
        """Embeddings (N, D) and values (N,) -> parameters."""
        centre, scale = x.mean(0), x.std(0).clamp_min(1e-6)
        z = (x - centre) / scale
        weight = torch.linalg.solve(z.T @ z + strength * len(z) * torch.eye(z.shape[1]), z.T @ (y - y.mean()))
        return {"centre": centre, "scale": scale, "weight": weight, "bias": y.mean()[None]}

    def predicted(self, params: dict[str, Tensor], x: Tensor) -> np.ndarray:
        """Embeddings (N, D) -> values (N,)."""
        return ((x - params["centre"]) / params["scale"] @ params["weight"] + params["bias"]).double().numpy()


@dataclass(frozen=True)
class Values(Scores):
    """Values of one split: truth (N,), predicted by every run (R, N)."""

    split: str
    ids: Sequence[str]
    groups: Sequence[str]
    targets: np.ndarray
    predicted: Sequence[np.ndarray]
    labels: Sequence[str] = ("value",)

    def same_truth(self, other: "Values") -> bool:
        return np.array_equal(self.targets, other.targets)

    def compare(self, other: "Values", metric: str) -> Difference:
        member, grouped = members([g or None for g in self.groups], len(self.ids))
        means = tuple(partial(_mean_over_runs, v.predicted, self.targets, metric) for v in (self, other))
        runs = (len(self.predicted), len(other.predicted))
        pair = Paired(means, runs, member, grouped)
        return difference_of(pair, self.test(other, metric), bounds=(-np.inf, np.inf))

    def test(self, other: "Values", metric: str) -> tuple[float, float]:
        """By the mean error: R2 differs by the mean squared error over the variance, which is the same for both."""
        member, _ = members([g or None for g in self.groups], len(self.ids))
        errors = [np.abs(np.array(v.predicted) - self.targets) for v in (self, other)]
        if metric == "mae":
            return permutation_of_means(*errors, member)
        one, two = (1 - error**2 / np.var(self.targets) for error in errors)
        return permutation_of_means(one, two, member)


def _mean_over_runs(
    predicted: Sequence[np.ndarray], targets: np.ndarray, metric: str, weights: np.ndarray, runs: np.ndarray
) -> np.ndarray:
    return sum(share * measured(p, targets, weights)[metric] for p, share in zip(predicted, runs.T, strict=True))


def measured(predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """R2 and mean absolute error under weights of the samples, (d, N) -> (d,)."""
    total = np.maximum(weights.sum(1), 1e-12)
    mean = weights @ targets / total
    spread = (weights * (targets - mean[:, None]) ** 2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = 1 - weights @ (predicted - targets) ** 2 / spread
    return {"r2": r2, "mae": weights @ np.abs(predicted - targets) / total}


def values_table(parts: Sequence[Values], runs: Sequence[int]) -> pa.Table:
    """One row per sample and run."""
    return pa.concat_tables(
        pa.table({**identity_columns(part, run, target=pa.array(part.targets)), "value": pa.array(predicted)})
        for part in parts
        for run, predicted in zip(runs, part.predicted, strict=True)
    )


def read_values(folder: Path, split: str) -> Values:
    """The values of one split of a finished result."""
    table, ids, groups, runs = read_split(folder, split)
    targets = table["target"].slice(0, len(ids)).to_numpy()
    return Values(split, ids, groups, targets, list(table["value"].to_numpy().reshape(runs, -1)))


def evaluate(job: Job, store: Any, metrics: Mapping[str, Metric]) -> Answer:
    """Fit the head on the embeddings and on six colour numbers, and score both."""
    began, card = time.monotonic(), job.dataset.card
    plan = make_plan(store, job.protocol, card)

    def scored(what: str) -> tuple[dict, dict, dict, dict]:
        train, select = (store.embedded(rows, what) for rows in (plan.train, plan.select))
        tried = {s: job.head.fit(train.x, train.y.float(), s) for s in job.resolved.section.strengths}
        errors = {s: float(np.abs(job.head.predicted(p, select.x) - select.y.numpy()).mean()) for s, p in tried.items()}
        best = min(errors, key=errors.get)
        splits, parts, draws = {}, [], {}
        for split in plan.reported:
            rows = store.rows(split)
            targets, groups = store.targets[rows], store.groups[rows]
            predicted = job.head.predicted(tried[best], store.embedded(rows, what).x)
            measures = [partial(measured, predicted, targets)]
            known = [g or None for g in groups.tolist()]
            splits[split], intervals = measured_record(measures, measures, len(rows), known, metrics)
            draws[split] = intervals.draws[card.metric]
            parts.append(Values(split, store.ids[rows], groups, targets, [predicted]))
        return splits, {"params": tried[best], "strength": best, "error": errors[best]}, parts, draws

    splits, fitted, parts, draws = scored("embeddings")
    record = {
        **summary(plan, splits, card.metric, metrics[card.metric]),
        "baselines": {"colour_stats": {"splits": scored("colour_stats")[0]}},
        "contamination": {"kind": "unknown"},
        "confounds": None,
        "mpp": {"native": None, "reached": None},
        "selected": [{"run": 0, "value": fitted["error"], "strength": fitted["strength"]}],
        "refit": None,
        "skipped": store.skipped,
        "report": {},
        "cost": cost(store, time.monotonic() - began),
    }
    return Answer(record, {0: fitted["params"]}, values_table(parts, [0]), draws[plan.main])
