"""The images of a dataset that robustness is measured on, and their embeddings from the store."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eva_core.contracts.dataset import Dataset
from eva_core.errors import EvaError, UsageError, some
from eva_core.store.store import Store
from eva_vision.robustness.contracts import Benchmark
from eva_vision.robustness.typed_neighbours import Labels

KIND = "classification"


@dataclass(frozen=True)
class Images:
    """Images among which neighbours are looked for.

    Attributes:
        rows: Their numbers in the store, ascending, (N,).
        labels: Their labels.
        sites: Names of the sites, by number.
        groups: Names of their groups; None where a group is not known.
        parts: Numbers among these images of each part that is measured by itself, (n,) each.
    """

    rows: NDArray[np.intp]
    labels: Labels
    sites: list[str]
    groups: list[str | None]
    parts: list[NDArray[np.intp]]


def benchmark_of(dataset: Dataset) -> Benchmark:
    """How a dataset is measured: as it says, else on all of its images."""
    return getattr(dataset, "benchmark", None) or Benchmark()


def refuse_unfit(dataset: Dataset) -> None:
    """Refuse a dataset whose robustness cannot be measured, before anything is extracted.

    Raises:
        UsageError: It is of another kind of task, or lacks sites or classes.
    """
    name, home = dataset.card.name, benchmark_of(dataset).home
    if dataset.card.task != KIND:
        raise UsageError(f"Expected a dataset of {KIND}, but {name} is of {dataset.card.task}.")
    labelled = [s for s in dataset.samples if s.target is not None and s.site and home in (None, s.split)]
    sites = sorted({s.site for s in labelled if s.site})
    if len(sites) < 2:
        raise UsageError(
            f"Expected labelled images of at least 2 sites in {name}, but "
            f"{f'all are of {sites[0]!r}' if sites else 'no site is known'}. Give the site of each image: in a folder "
            "by the column `site` of manifest.csv."
        )
    if len({s.target for s in labelled}) < 2:
        raise UsageError(f"Expected images of at least 2 classes in {name}, but all with a site are of one.")


def images_of(store: Store, benchmark: Benchmark) -> Images:
    """The readable images with a class and a site that are in distribution, and the parts of them."""
    wanted = store.readable & (store.targets >= 0) & (store.sites != "")
    home = wanted if benchmark.home is None else wanted & (store.splits == benchmark.home)
    listed = [np.isin(store.ids, list(ids)) & wanted for ids in benchmark.subsets]
    rows = np.flatnonzero(home if not listed else listed[0] if len(listed) == 1 else np.any([home, *listed], axis=0))
    groups = [str(group) or None for group in store.groups[rows]]
    alone = [group or f"\0{id}" for group, id in zip(groups, store.ids[rows], strict=True)]
    sites, site = np.unique(store.sites[rows], return_inverse=True)
    labels = Labels(store.targets[rows].astype(np.int64), site, np.unique(alone, return_inverse=True)[1])
    parts = [np.flatnonzero(part[rows]) for part in listed if part.sum() > 1]
    return Images(rows, labels, [str(name) for name in sites], groups, parts or [np.arange(len(rows))])


def embeddings(store: Store, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Rows of a store, (n, D).

    Raises:
        EvaError: One is not finite, or zero, which has no direction.
    """
    x = store.read(rows)
    wrong = np.flatnonzero(~np.isfinite(x).all(1) | ~x.any(1))
    if len(wrong):
        raise EvaError(
            f"Expected embeddings of finite numbers, not all 0, in {store.path}, but {len(wrong):,} are none: "
            f"{some(store.ids[rows[wrong]])}. Look at these images, or at the model."
        )
    return x
