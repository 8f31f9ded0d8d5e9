"""Bags in memory, with a planted signal."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eva_vision.slide_level.contracts import Bags


class ListedBags(Bags):
    """Bags as they are given."""

    def __init__(self, x: Sequence[Tensor], targets: Tensor) -> None:
        self.x, self.targets = list(x), targets
        self.counts = np.array([len(bag) for bag in x], np.int64)
        self.means = torch.stack([bag.float().mean(0) for bag in x]) if x else torch.zeros(0, 4)
        self.most_read = 0

    def read(self, number: int) -> Tensor:
        self.most_read += 1
        return self.x[number].clone()


def planted(n: int, features: int, seed: int, classes: int = 2, longest: int = 12) -> ListedBags:
    """Bags of noise of 1 to so many patches, in which the first patch tells the class."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, longest + 1, (n,), generator=generator).tolist()
    targets = torch.arange(n) % classes
    x = [0.5 * torch.randn(count, features, generator=generator) for count in counts]
    for bag, target in zip(x, targets.tolist(), strict=True):
        bag[0, target] += 4
    return ListedBags(x, targets)
