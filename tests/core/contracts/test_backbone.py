import hashlib

import pytest
import torch
from torch import nn

from eva_core.contracts.backbone import Backbone, sha256_of_weights
from eva_core.contracts.cards import ModelCard


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.tensor(7))
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))


def test_the_hash_is_over_names_types_shapes_and_bytes_in_the_order_of_names():
    network = Network()
    expected = hashlib.sha256(
        b"n\0torch.int64\0()\n"
        + (7).to_bytes(8, "little")
        + b"weight\0torch.float32\0(2, 3)\n"
        + network.weight.detach().numpy().tobytes()
    )
    assert sha256_of_weights(network) == expected.hexdigest()


def test_the_hash_knows_values_shapes_and_types_and_nothing_else():
    network, same = Network(), Network()
    known = sha256_of_weights(network)
    same.weight = nn.Parameter(torch.arange(12.0).reshape(2, 6)[:, ::2].div(2))  # not contiguous
    assert sha256_of_weights(same) == known
    for value in (torch.arange(6.0).reshape(3, 2), torch.arange(6.0).reshape(2, 3).double(), torch.zeros(2, 3)):
        same.weight = nn.Parameter(value)
        assert sha256_of_weights(same) != known


def test_a_backbone_starts_with_what_its_card_says():
    class Mean(Backbone):
        def forward(self, images):
            return images.mean((2, 3))

        def feature_map(self, images, layers=None):
            return images

    backbone = Mean(ModelCard("mean", dim=3, pooling="mean"))
    assert (backbone.name, backbone.pooling, backbone.arguments, backbone.provenance) == ("mean", "mean", {}, {})
    with pytest.raises(TypeError, match="abstract"):
        Backbone(ModelCard("none", dim=1))
