"""Average performance drop of one model: from the store to values, the curve behind them, and why there are none."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eva_core.store.store import Store
from eva_vision.robustness.contracts import Benchmark, Schedule
from eva_vision.robustness.images import embeddings, images_of
from eva_vision.robustness.schedule import cramers_v, usual
from eva_vision.robustness.schema import Drops, Value
from eva_vision.robustness.sweep import apd, nipd, sweep
from eva_vision.robustness.typed_neighbours import Labels

NOTHING = (
    "no APD: it needs two sites with two groups or more of each of two classes, and some images of each; "
    "other sites and classes take no part"
)


def drops(
    store: Store, benchmark: Benchmark, resamplings: int, progress: Callable[[int, int], None] = lambda *_: None
) -> Drops | str:
    """What probes lose as class and site are correlated in their training set; else why that is not known.

    Args:
        store: The embeddings.
        benchmark: Says which sites are in distribution, and what the training sets are.
        resamplings: How often groups are drawn.
        progress: Called with (fits done, all fits).
    """
    home = images_of(store, Benchmark(home=benchmark.home))
    schedule = benchmark.schedule or usual(home.labels)
    if schedule is None:
        return NOTHING
    if schedule.kept.shape != (len(home.sites), home.labels.classes.max() + 1):
        return f"no APD: its training sets are of other sites or classes than {', '.join(home.sites)}"
    x = embeddings(store, home.rows)
    others = _others(store, home.rows, home.labels, x, schedule)
    try:
        accuracies = sweep(x, home.labels, schedule, resamplings, others, progress)
    except ValueError as error:
        return f"no APD: {error}"
    values: dict[str, Value] = {}
    for name, found in accuracies.items():
        value, bounds = apd(found)
        values[f"apd_{name}"] = {"value": value, "ci95": bounds}
        values[f"nipd_{name}"] = {"value": nipd(found, schedule.splits), "ci95": None}
    return {
        "resamplings": resamplings,
        "published_sets": benchmark.schedule is not None,
        "v": [cramers_v(counts) for counts in schedule.splits],
        "accuracy": {name: found.mean(1).tolist() for name, found in accuracies.items()},
        "values": values,
    }


def _others(
    store: Store, rows: NDArray[np.intp], labels: Labels, x: NDArray[np.float32], schedule: Schedule
) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Images of other sites, of the classes of the schedule: of other splits, and of sites that take no part."""
    away = store.readable & (store.sites != "") & ~np.isin(store.sites, np.unique(store.sites[rows]))
    away &= np.isin(store.targets, schedule.classes)
    unused = ~np.isin(labels.sites, schedule.sites) & np.isin(labels.classes, schedule.classes)
    far = np.flatnonzero(away)
    found = np.concatenate([x[unused], embeddings(store, far)]) if len(far) else x[unused]
    classes = np.concatenate([labels.classes[unused], store.targets[far].astype(np.int64)])
    return (found, classes) if len(found) else None
