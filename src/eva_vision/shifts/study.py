"""Finished results under a grid of shifts: embeddings from the store, heads as they were fitted, what they decide."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eva_core.api import fitted_heads
from eva_core.classification.predictions import Predictions
from eva_core.contracts.metric import read_metric
from eva_core.contracts.results import Results
from eva_core.errors import EvaError, UsageError
from eva_core.job import Job
from eva_core.progress import Bar, say
from eva_core.results.record import read_results
from eva_core.store.store import VectorStore
from eva_core.task import task_named
from eva_vision.shifts import decisions
from eva_vision.shifts.contracts import Shift, strength_text
from eva_vision.shifts.grid import Grid
from eva_vision.shifts.kinds import Kind, kind_of
from eva_vision.shifts.shifted import only_split


@dataclass(frozen=True)
class Question:
    """A finished result, and the images of the split that it reports.

    Attributes:
        folder: Folder of the result.
        results: Content of its results.json.
        job: What its configuration asks for, with those images alone.
        grid: Whether the patches of slides are laid out anew on what is changed.
    """

    folder: Path
    results: Results
    job: Job
    grid: bool = False

    @property
    def kind(self) -> Kind:
        """Its kind of task."""
        return kind_of(self.results["task"], str(self.folder))


@dataclass(frozen=True)
class Seen:
    """What a model says of images or slides: predictions of its heads, and the (mean) embeddings, (N, D)."""

    predictions: Predictions
    embeddings: NDArray[np.float32]


def question_of(folder: Path, build: Callable[[Path], Job], grid: bool = False) -> Question:
    """Read a result and build what it was made with.

    Args:
        folder: Folder that `fit` wrote.
        build: Builds the job of a result.
        grid: Whether the patches of slides are laid out anew on what is changed.
    Raises:
        UsageError: It is no result, of another kind of task, or its images are not there.
    """
    results = read_results(folder)
    kind_of(results["task"], str(folder))
    job = build(folder)
    return Question(folder, results, replace(job, dataset=only_split(job.dataset, results["main"]["split"])), grid)


def refuse_other_images(questions: Sequence[Question]) -> None:
    """Refuse results on several datasets: a table of them would compare nothing.

    Raises:
        UsageError: Names the first that differs.
    """
    first, *others = questions
    facts = [(s.id, s.target) for s in first.job.dataset.samples]
    for other in others:
        same = [(s.id, s.target) for s in other.job.dataset.samples] == facts
        if not same or other.results["main"]["metric"] != first.results["main"]["metric"] or other.kind != first.kind:
            raise UsageError(
                f"Expected results on the same images and metric, but {other.folder} differs from {first.folder}. "
                "Run `eva shift` for each dataset."
            )


def study(questions: Sequence[Question], grid: Grid, tell: Callable[[str], None] = say) -> dict[str, Any]:
    """What each result decides under each shift.

    Args:
        questions: The results, on the same images.
        grid: The shifts.
        tell: Receives lines for the user.
    Returns:
        `models`, an entry for each result as `of_model` gives it, and `between`, for each pair of models.
    """
    models, moved = [], []
    for question in questions:
        entry, flips = of_model(question, grid, tell)
        models.append(entry)
        moved.append(flips)
    groups = [sample.group for sample in questions[0].job.dataset.samples]
    keys = [(shift.name, shift.strength) for shifts in grid.values() for shift in shifts]
    pairs = [
        {"a": a, "b": b, "change": name, "strength": strength, **decisions.between(one, other, groups)}
        for a in range(len(models))
        for b in range(a + 1, len(models))
        for (name, strength), one, other in zip(keys, moved[a], moved[b], strict=True)
        if one.shape[1] == other.shape[1] == len(groups)  # else one left images out
    ]
    return {"models": models, "between": pairs}


def of_model(
    question: Question, grid: Grid, tell: Callable[[str], None]
) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
    """One result under all shifts: what shift.json says of it, and where decisions flip, (R, N) by shift."""
    results, job = question.results, question.job
    metric = results["main"]["metric"]
    clean = _seen(question, None, tell)
    shifts = [shift for of_change in grid.values() for shift in of_change]
    rows: list[dict[str, Any]] = []
    flips = []
    for number, shift in enumerate(shifts, 1):
        tell(f"{job.model}: {shift.name} {strength_text(shift.strength)}, {number} of {len(shifts)}")
        try:
            shifted = _seen(question, shift, tell)
        except EvaError as error:
            raise EvaError(f"Under {shift.name} {strength_text(shift.strength)}: {error}") from error
        if list(shifted.predictions.ids) != list(clean.predictions.ids):
            raise EvaError(
                f"Expected the same readable images under {shift.name} as without it, but some failed. Repair them, or "
                "leave the change out."
            )
        with Bar(f"decisions of {job.model}"):
            rows.append(_row(clean, shifted, shift, metric))
        flips.append(decisions.flips(clean.predictions, shifted.predictions))
    identity = results["identity"]
    entry = {
        "model": identity["model"],
        "head": identity["head"],
        "protocol": identity["protocol"],
        "result": str(question.folder),
        "result_sha256": results["sha256"],
        "score_of_result": results["main"]["mean"],
        "n": len(clean.predictions.ids),
        "n_groups": len({g for g in clean.predictions.groups if g}) or None,
        "clean": decisions.scored(clean.predictions, metric),
        "shifts": rows,
    }
    entry["holds"] = _mark_drops(rows, grid, read_metric(results["main"]).sign)
    return entry, flips


def _row(clean: Seen, shifted: Seen, shift: Shift, metric: str) -> dict[str, Any]:
    before, after = clean.predictions, shifted.predictions
    return {
        "change": shift.name,
        "strength": shift.strength,
        "scores": decisions.scored(after, metric),
        "difference": after.compare(before, metric),
        "flipped": decisions.flipped(before, after),
        "cosine": decisions.cosines(clean.embeddings, shifted.embeddings),
    }


def _mark_drops(rows: list[dict[str, Any]], grid: Grid, sign: int) -> dict[str, Any]:
    """Say of each row whether its drop is told from zero, and of each change until where it holds."""
    holds = {}
    for name, shifts in grid.items():
        of_change = [row for row in rows if row["change"] == name]
        told = decisions.told([row["difference"] for row in of_change], sign)
        for row, drop in zip(of_change, told, strict=True):
            row["drop"] = drop
            row["difference"] = asdict(row["difference"])
        holds[name] = decisions.holds_until(shifts[0].card, [shift.strength for shift in shifts], told)
    return holds


def _seen(question: Question, shift: Shift | None, tell: Callable[[str], None]) -> Seen:
    """What the model and its heads say of the images under a shift, or as they are."""
    job, kind = question.job, question.kind
    if shift is not None:
        job = replace(job, dataset=kind.shifted(job.dataset, shift, question.grid))
    task, split = task_named(question.results["task"]), question.results["main"]["split"]
    key = task.key(job)
    classes, heads = fitted_heads(question.folder, job, key.content)
    if tuple(classes) != tuple(job.dataset.card.classes):
        raise UsageError(
            f"Expected images of the classes {', '.join(classes)}, which the heads know, but {job.dataset.card.name} "
            f"has {', '.join(job.dataset.card.classes)}."
        )
    store: VectorStore = task.extract(key, job, tell)
    return Seen(kind.predictions(job, store, split, heads), store.vectors(store.rows(split)))
