"""Models of Bioptimus: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "h_optimus_0": Facts(
        1536,
        prefix=5,
        patch=14,
        millions=1134.8,
        tensors=567,
        shapes={"pos_embed": (1, 16**2, 1536), "blocks.39.mlp.fc2.weight": (1536, 4096)},
    ),
    "h_optimus_1": Facts(1536, prefix=5, patch=14, millions=1134.8, tensors=567),
    "h0_mini": Facts(768, prefix=5, patch=14, millions=85.7),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
