import math

import numpy as np
import torch

from eva_vision.slide_level.heads.abmil import AbmilNetwork, softmax_by_bag


def test_the_softmax_is_within_each_bag():
    scores, member = torch.tensor([0.3, -2.0, 5.0, 1.0]), torch.tensor([0, 0, 1, 1])
    expected = torch.cat([scores[:2].softmax(0), scores[2:].softmax(0)])
    assert torch.allclose(softmax_by_bag(scores, member, 2), expected)


def test_bags_in_one_call_are_as_bags_alone_and_as_padded_ones():
    torch.manual_seed(0)
    network, sizes = AbmilNetwork(7, 3), [4, 1, 9]
    bags = [torch.randn(n, 7) for n in sizes]
    member = torch.from_numpy(np.repeat(np.arange(3), sizes))
    together = network(torch.cat(bags), member, 3)
    alone = torch.cat([network(bag, torch.zeros(len(bag), dtype=torch.long), 1) for bag in bags])
    assert torch.allclose(together, alone, atol=1e-6)
    padded = torch.nn.utils.rnn.pad_sequence(bags, batch_first=True)  # (3, 9, 7), as others do it
    h = network.project(padded)
    scores = network.attend(network.value(h).tanh() * network.gate(h).sigmoid())[..., 0]
    scores = scores.masked_fill(torch.arange(9) >= torch.tensor(sizes)[:, None], -math.inf)
    assert torch.allclose(together, network.classify((scores.softmax(1)[..., None] * h).sum(1)), atol=1e-6)
