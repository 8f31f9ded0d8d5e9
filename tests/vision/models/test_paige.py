"""Models of Paige: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "virchow": Facts(1280, prefix=1, patch=14, millions=631.2, tensors=454),
    "virchow2": Facts(
        1280,
        prefix=5,
        patch=14,
        millions=631.2,
        tensors=455,
        shapes={"pos_embed": (1, 1 + 4 + 16**2, 1280), "blocks.31.mlp.fc2.weight": (1280, 3416)},
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
