"""Bags as heads see them: in memory where they fit, else read as they are needed."""

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from eva_vision.slide_level.bags.bag_files import read_rows
from eva_vision.slide_level.bags.bag_store import BagStore
from eva_vision.slide_level.contracts import Bags


class StoredBags(Bags):
    """Some samples of a store of bags."""

    def __init__(self, store: BagStore, samples: np.ndarray, what: str = "embeddings") -> None:
        """Name what is to be read.

        Args:
            store: The bags of the dataset.
            samples: Numbers of the samples, (N,).
            what: `embeddings` or `colour_stats`.
        """
        self.store, self.samples, self.what = store, samples, what
        self.targets = torch.from_numpy(store.targets[samples])
        self.means = torch.from_numpy(store.means(what)[samples])
        self.counts = store.patches[samples]

    @property
    @override
    def groups(self) -> np.ndarray:
        names: np.ndarray = self.store.groups[self.samples]
        return names

    @override
    def read(self, number: int) -> Tensor:
        bags = self.store.bags_of(int(self.samples[number]))
        arrays = [read_rows(self.store.paths[bag], self.what) for bag in bags if self.store.counts[bag]]
        return torch.from_numpy(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))


class MeanBags(Bags):
    """One vector for each sample, as a bag of its own: what is known without a look at the tissue."""

    def __init__(self, x: Tensor, targets: Tensor) -> None:
        """Keep the vectors, float32 (N, D), and their targets."""
        self.means, self.targets = x, targets
        self.counts = np.ones(len(x), np.int64)

    @override
    def read(self, number: int) -> Tensor:
        return self.means[number : number + 1]
