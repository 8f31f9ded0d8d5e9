"""Models of Microsoft: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "prov_gigapath": Facts(
        1536,
        prefix=1,
        patch=16,
        millions=1135.0,
        shapes={"patch_embed.proj.weight": (1536, 3, 16, 16), "pos_embed": (1, 1 + 14**2, 1536)},
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
