"""Curves of label efficiency: every model on every draw of every share, with intervals, and pairs of models."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from eva_core.api import prepared, stamp_of
from eva_core.contracts.checks import crossing_line
from eva_core.curves.points import Asked, fitted_point, point_key, pooled
from eva_core.curves.schema import SCHEMA, Between, Curve, CurvePoint, ModelCurve, ShareFacts
from eva_core.curves.shares import Train, drawn, restricted, train_of
from eva_core.errors import UsageError
from eva_core.files.file_names import as_name
from eva_core.job import Job
from eva_core.progress import Bar, say
from eva_core.results.record import claimed
from eva_core.statistics.comparison import Difference, holm
from eva_core.task import Scores, task_named


@dataclass(frozen=True)
class Plan:
    """What a curve is made of.

    Attributes:
        shares: Shares of train, ascending, above 0 and at most 1.
        draws: How often each share is drawn; all of train is there once.
        output: Folder that keeps the points.
    """

    shares: Sequence[float]
    draws: int
    output: Path

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            shown = ", ".join(f"{100 * share:g}" for share in self.shares)
            raise UsageError(f"Expected shares in percent above 0 and up to 100, but got {shown or 'none'}.")
        if self.draws < 1:
            raise UsageError(f"Expected --draws to be at least 1, but got {self.draws}.")

    def draws_of(self, share: float) -> int:
        """How often a share is drawn."""
        return 1 if share == 1 else self.draws


@dataclass(frozen=True)
class _Fitted:
    """One model at one share: the record of each draw, or why there is none; predictions of those there are."""

    records: list[dict[str, Any] | str]
    scores: Scores | None

    @property
    def draws(self) -> list[int]:
        """Numbers of the draws that were fitted."""
        return [draw for draw, record in enumerate(self.records) if isinstance(record, dict)]


def curve(jobs: Sequence[Job], plan: Plan, tell: Callable[[str], None] = say) -> Curve:
    """Fit the head of each job to shares of train; what was fitted before in the same folder is taken from there.

    Args:
        jobs: What `eva fit` would be asked for: several models on one dataset, with one head and protocol.
        plan: Shares, draws and folder.
        tell: Receives lines for the user.
    Returns:
        The content of curve.json.
    Raises:
        UsageError: What is asked for cannot be fitted; nothing is extracted where that can be known before.
        EvaError: An image, the weights or an embedding is bad.
    """
    names = [job.model for job in jobs]
    if len(set(map(as_name, names))) < len(names):
        raise UsageError(f"Expected models of different names, but got {', '.join(names)}.")
    if jobs[0].protocol.shots is not None:
        raise UsageError("Expected shares of train or few shots, but got both. Leave --protocol.shots out.")
    if (line := crossing_line(jobs[0].dataset)) is not None:
        tell(line)
    jobs = [prepared(job, tell) for job in jobs]
    task = task_named(jobs[0].dataset.card.task)
    with claimed(plan.output, tell):
        stores = task.extract_all(jobs, tell)
        if any(not np.array_equal(store.readable, stores[0].readable) for store in stores):
            raise UsageError("Expected the same readable samples for each model, but some failed for one. Repair them.")
        train = train_of(stores[0], jobs[0].dataset.card.name)
        parts = [drawn(train, plan.shares, jobs[0].protocol.seed, draw) for draw in range(plan.draws)]
        fitted = [_fit_shares(job, store, plan, train, parts, tell) for job, store in zip(jobs, stores, strict=True)]
    return _content(jobs, plan, train, parts, fitted)


def _fit_shares(
    job: Job,
    store: Any,
    plan: Plan,
    train: Train,
    parts: Sequence[Sequence[np.ndarray]],
    tell: Callable[[str], None],
) -> list[_Fitted]:
    """One model at every share."""
    task = task_named(job.dataset.card.task)
    stamp = stamp_of(job, task.key(job).content)
    fitted = []
    for number, share in enumerate(plan.shares):
        records: list[dict[str, Any] | str] = []
        folder = plan.output / "points" / as_name(job.model) / f"{100 * share:g}%"
        for draw in range(plan.draws_of(share)):
            part = parts[draw][number]
            count = f"draw {draw + 1} of {plan.draws_of(share)}: {part.sum()} samples"
            tell(f"{job.model}: {100 * share:g} % of train, {count}")
            view = store if part.all() else restricted(store, train, part)
            asked = Asked(job, view, point_key(stamp, store.ids[train.rows[part]]), whole=bool(part.all()))
            records.append(fitted_point(asked, folder / f"draw{draw}", tell))
        there = {draw: record for draw, record in enumerate(records) if isinstance(record, dict)}
        scores = None
        if there:
            split = next(iter(there.values()))["main"]["split"]
            scores = pooled(job.dataset.card.task, [folder / f"draw{draw}" for draw in there], split)
        fitted.append(_Fitted(records, scores))
    return fitted


def _content(
    jobs: Sequence[Job],
    plan: Plan,
    train: Train,
    parts: Sequence[Sequence[np.ndarray]],
    fitted: Sequence[Sequence[_Fitted]],
) -> Curve:
    first = next((r for of in fitted[0] for r in of.records if isinstance(r, dict)), None)
    if first is None:
        raise UsageError(f"Expected a share that can be fitted, but none can: {fitted[0][-1].records[0]}")
    job, main = jobs[0], first["main"]
    models: list[ModelCurve] = []
    for model, of_shares in zip(jobs, fitted, strict=True):
        with Bar(f"intervals of {model.model}"):
            points = [_point(share, of, main["metric"]) for share, of in zip(plan.shares, of_shares, strict=True)]
        sha256 = task_named(model.dataset.card.task).key(model).content["weights_sha256"]
        models.append({"model": model.model, "weights_sha256": sha256, "points": points})
    shares: list[ShareFacts] = []
    for number, share in enumerate(plan.shares):
        counts = [train.counts(parts[draw][number]) for draw in range(plan.draws_of(share))]
        groups = [n for _, n in counts if n is not None]
        shares.append({"share": share, "n": [n for n, _ in counts], "n_groups": groups or None})
    return {
        "schema": SCHEMA,
        "dataset": job.dataset.card.name,
        "dataset_sha256": task_named(job.dataset.card.task).key(job).content["dataset_sha256"],
        "synthetic": job.dataset.card.synthetic,
        "task": job.dataset.card.task,
        "head": job.head_name,
        "protocol": job.resolved.title,
        "split": main["split"],
        "metric": main["metric"],
        "higher_is_better": main["higher_is_better"],
        "chance": main["chance"],
        "n_reported": first["score"]["n"],
        "n_groups_reported": first["score"]["n_groups"],
        "draws": plan.draws,
        "seed": job.protocol.seed,
        "shares": shares,
        "models": models,
        "between": _between(plan, fitted, main["metric"]),
    }


def _point(share: float, of: _Fitted, metric: str) -> CurvePoint:
    """The score of a model at a share, over draws and runs, with the interval of all of them."""
    records = [record if isinstance(record, dict) else None for record in of.records]
    values = [None if r is None else r["score"]["metrics"][metric]["mean"] for r in records]
    known = [value for value in values if value is not None]
    there = [r for r in records if r is not None]
    names = [*there[0]["nulls"]] if there else []
    point: CurvePoint = {
        "share": share,
        "values": values,
        "mean": _mean(values),
        "std": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "ci95": None,
        "t95": None,
        "nulls": {name: _mean([r["nulls"][name]["mean"] for r in there]) for name in names},
        "left_out": list(dict.fromkeys(r for r in of.records if isinstance(r, str))),
    }
    if of.scores is not None:
        record = of.scores.record([metric])[0]["metrics"][metric]
        point["ci95"], point["t95"] = record["ci95"], record.get("t95")
    return point


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _between(plan: Plan, fitted: Sequence[Sequence[_Fitted]], metric: str) -> list[Between]:
    """Each pair of models at each share that both were fitted to by the same draws."""
    found: list[tuple[int, int, float, Difference]] = []
    for (a, one), (b, other) in combinations(enumerate(fitted), 2):
        with Bar(f"differences of models {a + 1} and {b + 1}"):
            for share, first, second in zip(plan.shares, one, other, strict=True):
                if first.scores is not None and second.scores is not None and first.draws == second.draws:
                    found.append((a, b, share, first.scores.compare(second.scores, metric)))
    adjusted = holm([math.nan if d.p is None else d.p for *_, d in found])
    return [
        {
            "a": a,
            "b": b,
            "share": share,
            "difference": None if math.isnan(d.difference) else d.difference,
            "ci95": d.ci95,
            "t95": d.t95,
            "p": d.p,
            "p_holm": None if math.isnan(p) else p,
            "told": d.is_significant(p),
        }
        for (a, b, share, d), p in zip(found, adjusted, strict=True)
    ]
