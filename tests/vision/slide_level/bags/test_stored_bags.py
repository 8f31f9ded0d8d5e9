import numpy as np
import torch

from eva_core.job import Job
from eva_vision.slide_level.bags.stored_bags import MeanBags, StoredBags
from tests.vision.slide_level.bags.test_bag_store import opened


def test_bags_of_some_samples(job: Job):
    store = opened(job)
    bags = StoredBags(store, np.array([0, 5]))
    assert bags.counts.tolist() == [12, 6]
    assert bags.targets.tolist() == store.targets[[0, 5]].tolist()
    assert [bags.read(n).shape for n in range(2)] == [(12, 6), (6, 6)]
    assert torch.allclose(bags.read(1).mean(0), bags.means[1], atol=1e-6)
    assert StoredBags(store, np.array([5]), "colour_stats").read(0).dtype == torch.float32


def test_a_vector_is_a_bag_of_one():
    bags = MeanBags(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0]))
    assert len(bags) == 3
    assert bags.read(1).tolist() == [[2.0, 3.0]]
