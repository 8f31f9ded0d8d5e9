"""Models of HKUST: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "gpfm": Facts(
        1024, prefix=1, patch=14, shapes={"pos_embed": (1, 1 + 16**2, 1024), "blocks.23.mlp.fc1.weight": (4096, 1024)}
    ),
    "mstar": Facts(1024, prefix=1, patch=16, millions=303.4, shapes={"blocks.23.ls2.gamma": (1024,)}),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
