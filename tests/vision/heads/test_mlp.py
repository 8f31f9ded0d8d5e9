import pytest
import torch
from torch import nn

from eva_vision.heads.mlp import Mlp


@pytest.mark.parametrize("outputs", [1, 4])
def test_initialisation_is_that_of_torch(outputs: int) -> None:
    generator = torch.manual_seed(3)
    layers = [nn.Linear(10, 6), nn.Linear(6, outputs)]
    params = Mlp(hidden=6).parameters(10, outputs, generator.manual_seed(3))
    for ours, theirs in zip(params.values(), (p for layer in layers for p in layer.parameters()), strict=True):
        assert torch.equal(ours, theirs)
