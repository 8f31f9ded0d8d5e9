"""What heads see in the patches of one sample: their attention, or what they say of each patch alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eva_vision.slide_level.bags.bag_files import read_rows
from eva_vision.slide_level.bags.bag_store import BagStore
from eva_vision.slide_level.bags.stored_bags import MeanBags
from eva_vision.slide_level.contracts import BagHead


@dataclass(frozen=True)
class Looks:
    """The patches of a sample, slide after slide.

    Attributes:
        bag: Number of the bag of each patch in the store, (n,).
        coords: Its corner in level-0 pixels of its slide, (n, 2).
        attention: Weight times n, mean over runs: 1 is the average patch, (n,); None where the head has no attention.
        outputs: What the head of each run says of a bag of this patch alone, (R, n, K).
    """

    bag: np.ndarray
    coords: np.ndarray
    attention: np.ndarray | None
    outputs: np.ndarray


def look(store: BagStore, sample: int, head: BagHead, runs: Sequence[dict[str, Tensor]]) -> Looks | None:
    """Look at a sample through the heads of several runs; None where they see the mean of a bag, and not its patches.

    Args:
        store: The bags.
        sample: Number of the sample.
        head: Says what parameters make of a bag.
        runs: Parameters of each run.
    """
    bags = [bag for bag in store.bags_of(sample) if store.counts[bag]]
    x = torch.from_numpy(np.concatenate([read_rows(store.paths[bag]) for bag in bags])).float()
    weights = [head.attention(params, x) for params in runs]
    known = [weight for weight in weights if weight is not None]
    if not known and not head.linear:
        return None
    alone = MeanBags(x, torch.zeros(len(x), dtype=torch.int64))
    return Looks(
        np.repeat(bags, store.counts[bags]),
        np.concatenate([read_rows(store.paths[bag], "coords") for bag in bags]),
        torch.stack(known).mean(0).numpy() * len(x) if known else None,
        head.outputs_of_all(list(runs), alone).numpy(),
    )
