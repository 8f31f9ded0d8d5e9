"""The model of Stanford: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "musk": Facts(
        1024,
        prefix=1,
        patch=16,
        shapes={"pos_embed": (1, 1 + 24**2, 1024), "blocks.23.mlp.norm.weight": (4096,), "norm.weight": (1024,)},
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
