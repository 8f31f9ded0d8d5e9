"""What a score can be guessed from without a look at any tissue: cohort, site, slide size, number of tissue patches."""

import numpy as np
import torch
from torch import Tensor

from eva_vision.slide_level.bags.bag_store import BagStore
from eva_vision.slide_level.contracts import SlideDataset


def metadata_vectors(dataset: SlideDataset, store: BagStore, rows: np.ndarray, train: np.ndarray) -> Tensor:
    """Metadata of samples as vectors, standardised by those of train.

    Args:
        dataset: Says what is known of a sample.
        store: Says how large its slides are, and how many tissue patches they have.
        rows: Numbers of the samples, (N,).
        train: Numbers of the samples that heads learn from: names that none of them has are unknown, (T,).
    Returns:
        float32 (N, D): a place for each name of each field, slides of a sample, their area and tissue, by logarithm.
    """
    known = [dataset.metadata(dataset.samples[row]) for row in range(len(store.ids))]
    fields = sorted({name for row in train for name in known[row]})
    columns = [_sizes(store)]
    for name in fields:
        values = sorted({known[row].get(name, "") for row in train})
        columns.append(np.array([[float(of.get(name, "") == value) for value in values] for of in known]))
    table = np.concatenate(columns, axis=1)
    mean, std = table[train].mean(0), table[train].std(0)
    vectors = (table[rows] - mean) / np.where(std > 0, std, 1)
    return torch.from_numpy(vectors).float()


def _sizes(store: BagStore) -> np.ndarray:
    """Slides of each sample, their area in mm2 and their patches of tissue, by logarithm: (samples, 3)."""
    n = len(store.ids)
    areas = store.facts["width"] * store.facts["height"] * np.square(store.facts["slide_mpp"]) * 1e-6
    sums = [
        np.bincount(store.sample_of, w, minlength=n) for w in (np.ones(len(areas)), areas, store.facts["candidates"])
    ]
    return np.log1p(np.stack(sums, axis=1))
