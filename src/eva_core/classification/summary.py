"""What results.json says of one split of a classification."""

from collections.abc import Collection, Sequence
from functools import partial

import numpy as np
import torch

from eva_core.classification.calibration_bins import BINS, calibration_gaps
from eva_core.classification.metric_names import NAMES, metrics_of
from eva_core.classification.metrics import evaluate, keys, weighted
from eva_core.contracts.results import SplitRecord
from eva_core.statistics.intervals import Intervals, members
from eva_core.statistics.summary import record_of


def split_record(
    selected: np.ndarray,
    last: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str | None] | None,
    ranking: np.ndarray | None = None,
    ranking_last: np.ndarray | None = None,
    names: Collection[str] = NAMES,
) -> tuple[SplitRecord, Intervals]:
    """What results.json says of one split of a classification, and the intervals behind it.

    Args:
        selected: Scores of the selected heads, (R, N, C), rows sum to one.
        last: Scores of the heads after their last step, (R, N, C).
        targets: Class numbers, (N,).
        classes: The C class names.
        groups: Patient or slide of each sample; None where nothing is known.
        ranking: Log-odds of the selected heads, by which AUROC and AUPRC rank, (R, N, C); the scores unless given.
        ranking_last: Log-odds of the heads after their last step, (R, N, C); the scores unless given.
        names: The metrics that are kept: a result made before there was one has it not.
    """
    by, by_last = (s if r is None else r for s, r in ((selected, ranking), (last, ranking_last)))
    facts = metrics_of(len(classes))
    kept = [name for name in keys(classes) if (kind := name.partition("/")[0]) in names or kind not in facts]
    values, at_last = (
        [_values(*of_run, targets, classes, kept) for of_run in zip(scores, ranks, strict=True)]
        for scores, ranks in ((selected, by), (last, by_last))
    )
    measures = [
        partial(weighted, s, targets, classes, names=kept, ranking=r) for s, r in zip(selected, by, strict=True)
    ]
    gaps = {name: [partial(calibration_gaps, name, s, targets) for s in selected] for name in BINS if name in kept}
    record, intervals = record_of(values, at_last, measures, len(targets), groups, gaps, facts)
    alone = _held_by_one(targets, classes, groups) if intervals.n_groups > 1 else []
    if alone:
        record["held_by_one"] = alone
    return record, intervals


def _values(
    scores: np.ndarray, ranking: np.ndarray, targets: np.ndarray, classes: Sequence[str], names: Sequence[str]
) -> dict[str, float | None]:
    values = evaluate(torch.from_numpy(scores), torch.from_numpy(targets), classes, torch.from_numpy(ranking))
    return {name: values[name] for name in names}


def _held_by_one(targets: np.ndarray, classes: Sequence[str], groups: Sequence[str | None] | None) -> list[str]:
    """Classes that a single group, or a single image where none is known, has: how they vary is not known."""
    member, _ = members(groups, len(targets))
    pairs = np.unique(np.stack([targets, member]), axis=1)
    return [name for name, n in zip(classes, np.bincount(pairs[0], minlength=len(classes)), strict=True) if n == 1]
