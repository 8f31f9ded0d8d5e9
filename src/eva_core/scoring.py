"""What results.json says of a split: values of each run, mean, spread and interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from eva_core.metrics import evaluate
from eva_core.stats import Intervals, interval


def split_record(
    selected: np.ndarray,
    last: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str | None] | None,
) -> tuple[dict[str, Any], Intervals]:
    """What results.json says of one split, and the intervals behind it.

    Args:
        selected: Scores of the selected heads, (R, N, C), rows sum to one.
        last: Scores of the heads after their last step, (R, N, C).
        targets: (N,).
        groups: Patient or slide of each sample; None where nothing is known.
    """
    truth = torch.from_numpy(targets)
    values, at_last = ([evaluate(torch.from_numpy(s), truth, classes) for s in runs] for runs in (selected, last))
    intervals = interval(selected, targets, classes, groups)
    metrics = {
        name: {
            **_summary([v[name] for v in values]),
            "ci95": intervals.ci95[name],
            **({"t95": intervals.t95[name]} if intervals.t95 else {}),
            "values": [v[name] for v in values],
            "last": _mean([v[name] for v in at_last]),
        }
        for name in values[0]
    }
    record = {
        "n": len(targets),
        "n_groups": intervals.n_groups if groups is not None else None,
        "interval": intervals.kind,
        "metrics": metrics,
    }
    return record, intervals


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, and the standard deviation over runs: null for a single run."""
    known = [v for v in values if v is not None]
    return {"mean": _mean(values), "std": float(np.std(known, ddof=1)) if len(known) > 1 else None}
