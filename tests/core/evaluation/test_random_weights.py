from typing import Any

import pytest
import torch

from eva_core import registry
from eva_core.contracts.backbone import Backbone, sha256_of_weights
from eva_core.evaluation.random_weights import RANDOM, with_random_weights


@pytest.mark.parametrize(
    "arguments",
    [
        {"arch": "resnet10t", "size": 64},
        {"arch": "vit_tiny_patch16_224", "size": 64, "depth": 3},
        {"arch": "mobilenetv2_050", "size": 64},
    ],
    ids=lambda arguments: arguments["arch"],
)
def test_the_signal_neither_fades_nor_overflows(arguments: dict[str, Any]):
    model: Backbone = registry.models.build("timm_model", **arguments)
    model.eval()
    before = sha256_of_weights(model)
    bare = with_random_weights(model, 0)
    assert sha256_of_weights(model) == before  # the model itself stays
    assert sha256_of_weights(bare) != before
    assert sha256_of_weights(with_random_weights(model, 0)) == sha256_of_weights(bare)
    assert sha256_of_weights(with_random_weights(model, 1)) != sha256_of_weights(bare)
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = bare(images)
    assert not bare.training
    assert x.isfinite().all()
    assert 0.01 < x.std() < 100
    assert torch.pdist(x).min() > 0.05 * x.norm(dim=1).mean()  # images differ
    assert bare.name == f"{model.name}-{RANDOM}"
    assert bare.card.trained_on == "nothing"
    assert not bare.provenance
