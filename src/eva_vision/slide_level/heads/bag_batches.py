"""Bags for training: in memory where they fit, else read from disk one batch ahead."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from eva_vision.slide_level.contracts import Bags


class BagBatches:
    """Gives the bags of batches, float32 or float16 as they are kept, each (n, D)."""

    def __init__(self, bags: Bags, in_memory: bool) -> None:
        """Read all bags now, one after the other into one tensor, or leave them on disk."""
        self.bags = bags
        self._parts: tuple[Tensor, ...] | None = None
        if in_memory and len(bags):
            counts, first = bags.counts.tolist(), bags.read(0)
            whole = torch.empty(sum(counts), first.shape[1], dtype=first.dtype)
            self._parts = whole.split(counts)
            for number, part in enumerate(self._parts):
                part.copy_(bags.read(number) if number else first)

    def __call__(self, batches: Sequence[np.ndarray]) -> Iterator[list[Tensor]]:
        """The bags of each batch of numbers, in order."""
        if self._parts is not None:
            for batch in batches:
                yield [self._parts[number] for number in batch]
            return
        with ThreadPoolExecutor(1) as ahead:
            coming = None
            for batch in batches:
                now, coming = coming, ahead.submit(self._read, batch)
                if now is not None:
                    yield now.result()
            if coming is not None:
                yield coming.result()

    def _read(self, batch: np.ndarray) -> list[Tensor]:
        return [self.bags.read(int(number)) for number in batch]


def bytes_of(bags: Bags, most: int | None = None) -> int:
    """Memory for bags, for all or for the largest so many of them, as they are kept."""
    if not len(bags):
        return 0
    first = bags.read(0)
    return patches_of(bags, most) * first.shape[1] * first.element_size()


def patches_of(bags: Bags, most: int | None = None) -> int:
    """Patches of all bags, or of the largest so many of them."""
    return int(np.sort(bags.counts)[::-1][:most].sum())


def in_pieces(bags: Bags, patches: int) -> list[np.ndarray]:
    """All bags in order, in batches of about so many patches: at least one bag each."""
    batches: list[list[int]] = []
    size = 0
    for number, count in enumerate(bags.counts.tolist()):
        if batches and size + count <= patches:
            batches[-1].append(number)
            size += count
        else:
            batches.append([number])
            size = count
    return [np.array(batch) for batch in batches]
