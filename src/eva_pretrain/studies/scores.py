"""Scores of a study: means over seeds and tasks, intervals, differences.

The score of a variant is the mean over its seeds of the mean over tasks; its interval is that of `seeds`. A difference
compares two variants on the same test groups and seeds; it counts only where its interval and the t-interval over seeds
both exclude 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eva_core.contracts import results as results_schema
from eva_core.errors import EvaError
from eva_core.files.sealed_records import read_record_or_nothing
from eva_core.results.record import PREDICTIONS, read_draws, read_result_file, read_whole_result
from eva_core.statistics.intervals import filled, quantiles
from eva_pretrain.studies.cut_patches import DONE
from eva_pretrain.studies.plan import COST, Run
from eva_pretrain.studies.seeds import over_seeds, resampled, welch
from eva_pretrain.studies.study import SIDES, Study, Variant

COLOUR = "colour_stats"


@dataclass(frozen=True)
class _Result:
    """Result of a run on a task.

    Attributes:
        content: Content of results.json.
        folder: Folder of the result.
        other: Whether the dataset has other files than in the first result on the task.
    """

    content: results_schema.Results
    folder: Path
    other: bool


Results = dict[tuple[str, int, str], _Result]
"""Results by variant, seed and task."""
Draws = dict[tuple[str, int], NDArray[np.floating]]
"""Bootstrap draws (draws,) on a task, by variant and seed."""


@dataclass
class _Scores:
    """Scores of a variant on one side, for the seeds that have a score on every task of it.

    Attributes:
        seeds: The S seeds.
        values: Mean over tasks, (S,).
        draws: Mean over tasks under each draw of test groups, (S, draws).
        fixed: Whether the one value stands for every seed.
    """

    seeds: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    draws: list[NDArray[np.float64]] = field(default_factory=list)
    fixed: bool = False


def study_record(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """Collect all numbers of a study, as study.json holds them; what is missing or failed has its reason.

    Args:
        study: The study.
        runs: Its runs, finished or not.

    Returns:
        Content of study.json: `variants`, each with its `runs`, its `cost`, and for both sides `mean`, `std` over
        seeds, `ci95`, `t95`, `values` by seed and `difference`; and `colour_stats` by side.
    """
    results = _read(runs)
    sides = [side for side in SIDES if any(task.side == side for task in study.tasks)]
    variants = [_variant(v, [run for run in runs if run.variant is v], results) for v in study.variants]
    tasks = {side: [task.name for task in study.tasks if task.side == side] for side in sides}
    draws = {task.name: _draws(task.name, results) for task in study.tasks}
    for side in sides:
        scores = {v.name: _side(v, runs, tasks[side], results, draws) for v in study.variants}
        for variant in variants:
            variant[side] = _summary(scores[variant["name"]])
            if variant["name"] != study.against:
                variant[side]["difference"] = _difference(scores[variant["name"]], scores[study.against])
    return {
        "schema": 1,
        "name": study.name,
        "title": study.title,
        "base": study.base,
        "against": study.against,
        "protocol": study.protocol,
        "seeds": study.seeds,
        "tasks": [_task(task.name, task.side, results) for task in study.tasks],
        "synthetic": any(entry.content["synthetic"] for entry in results.values()),
        COLOUR: {side: _colour(tasks[side], results) for side in sides},
        "variants": variants,
    }


def _read(runs: Sequence[Run]) -> Results:
    """Read all results that have a score."""
    results: Results = {}
    data: dict[str, str] = {}
    for run in runs:
        for pair in run.pairs:
            folder = pair.result(pair.heads[0])
            try:
                content = read_whole_result(folder)
            except EvaError:  # there is no result, or a damaged one that the next call makes again
                continue
            if content["main"]["mean"] is not None:
                sha256 = content["identity"]["dataset_sha256"]
                other = data.setdefault(pair.task, sha256) != sha256
                results[run.variant.name, run.seed, pair.task] = _Result(content, folder, other)
    return results


def _task(name: str, side: str, results: Results) -> dict[str, Any]:
    content = next((entry.content for key, entry in results.items() if key[2] == name), None)
    if content is None:
        return {"name": name, "side": side}
    main = content["main"]
    split = content["splits"][main["split"]]
    facts = {k: split[k] for k in ("n", "n_groups", "interval")}
    return {"name": name, "side": side, "metric": main["metric"], "split": main["split"], **facts}


def _variant(variant: Variant, runs: Sequence[Run], results: Results) -> dict[str, Any]:
    costs = [cost for run in runs if (cost := read_record_or_nothing(run.folder / COST))]
    seconds = sum(cost["seconds"] for cost in costs)
    cut_to = runs[0].cut_to
    cut = {} if cut_to is None else read_record_or_nothing(cut_to / DONE)
    return {
        "name": variant.name,
        "untrained": variant.untrained,
        "changes": variant.changes,
        "cost": {
            "patches": costs[0]["patches"] if costs else None,
            "seconds": seconds / len(costs) if costs else None,
            "patches_per_s": sum(cost["patches"] for cost in costs) / seconds if seconds else None,
        },
        "cut": {k: cut[k] for k in ("patches", "bytes", "seconds")} if cut else None,  # names of slides stay there
        "runs": [
            {
                "seed": run.seed,
                "folder": "/".join(run.folder.parts[-3:]),
                "reason": run.failure,
                "tasks": {pair.task: _score(run, pair, results) for pair in run.pairs},
            }
            for run in runs
        ],
    }


def _score(run: Run, pair: Any, results: Results) -> dict[str, Any]:
    entry = results.get((run.variant.name, run.seed, pair.task))
    if entry is None:
        return {"value": None, "reason": pair.failure}
    if entry.other:
        return {"value": None, "reason": f"Made on other files than the rest of {pair.task}: delete {pair.folder}."}
    content = entry.content
    return {"value": content["main"]["mean"], "reason": None, "contamination": content["contamination"]["kind"]}


def _side(
    variant: Variant,
    runs: Sequence[Run],
    tasks: Sequence[str],
    results: Results,
    draws: dict[str, Draws],
) -> _Scores:
    scores = _Scores(fixed=any(run.fixed for run in runs if run.variant is variant))
    for run in runs:
        entries = [results.get((variant.name, run.seed, task)) for task in tasks]
        if run.variant is not variant or any(entry is None or entry.other for entry in entries):
            continue
        scores.seeds.append(run.seed)
        scores.values.append(float(np.mean([entry.content["main"]["mean"] for entry in entries if entry is not None])))
        scores.draws.append(np.mean([draws[task][variant.name, run.seed] for task in tasks], axis=0))
    return scores


def _order(task: str, results: Results) -> int:
    """Checksum of the names of a task's test groups, in the order in which draws number them; 0 without a result."""
    entry = next((entry for key, entry in results.items() if key[2] == task), None)
    if entry is None:
        return 0
    in_main_split = [("split", "=", entry.content["main"]["split"])]
    content = pa.py_buffer(read_result_file(entry.folder, PREDICTIONS, entry.content))
    table = pq.read_table(pa.BufferReader(content), columns=["id", "group", "split"], filters=in_main_split)
    samples = zip(table["id"].to_pylist(), table["group"].to_pylist(), strict=True)
    return crc32("\n".join(dict.fromkeys(group or name for name, group in samples)).encode())


def _draws(task: str, results: Results) -> Draws:
    """Read the bootstrap draws of every result on a task, shuffled by a seed that is made of its test groups.

    Two tasks with as many groups draw groups of the same numbers. Scores on the same groups do vary together; on other
    groups they would only seem to, without the shuffle. Draws that lack a class are replaced by others, the same in all
    results.
    """
    entries = {key[:2]: entry for key, entry in results.items() if key[2] == task and not entry.other}
    if not entries:
        return {}
    draws = np.stack([read_draws(entry.folder).astype(np.float64) for entry in entries.values()])
    order = _order(task, results)
    complete = filled(draws, seed=order)
    if complete is None:
        complete = np.full_like(draws, np.nan)
    return dict(zip(entries, complete[:, np.random.default_rng(order).permutation(draws.shape[1])], strict=True))


def _summary(scores: _Scores) -> dict[str, Any]:
    values = np.array(scores.values)
    if not len(values):
        return {"mean": None, "std": None, "ci95": None, "t95": None, "seeds": [], "values": []}
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
        "ci95": quantiles(resampled(np.stack(scores.draws))),
        "t95": over_seeds(values),
        "seeds": scores.seeds,
        "values": scores.values,
    }


def _difference(one: _Scores, other: _Scores) -> dict[str, Any] | None:
    """Difference of two variants, by seed where they have the same seeds or one is fixed; None without scores."""
    if not one.values or not other.values:
        return None
    drawn = resampled(np.stack(one.draws)) - resampled(np.stack(other.draws))
    ci95 = quantiles(drawn)
    if one.seeds == other.seeds or one.fixed or other.fixed:
        t95 = over_seeds(np.array(one.values) - np.array(other.values))
    else:
        t95 = welch(np.array(one.values), np.array(other.values))
    apart = all(bounds is not None and (bounds[0] > 0 or bounds[1] < 0) for bounds in (ci95, t95))
    return {"mean": float(np.mean(one.values) - np.mean(other.values)), "ci95": ci95, "t95": t95, "told_apart": apart}


def _colour(tasks: Sequence[str], results: Results) -> float | None:
    """Mean score over tasks of the colour baseline (six numbers an image); None where a task lacks this baseline."""
    means = []
    for task in tasks:
        content = next((entry.content for key, entry in results.items() if key[2] == task), None)
        baseline = content["baselines"].get(COLOUR) if content else None
        if content is None or baseline is None:
            return None
        main = content["main"]
        means.append(baseline["splits"][main["split"]]["metrics"][main["metric"]]["mean"])
    known = [mean for mean in means if mean is not None]
    return float(np.mean(known)) if len(known) == len(means) else None
