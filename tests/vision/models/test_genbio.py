"""The model of GenBio AI: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "genbio_pathfm": Facts(
        1536,
        prefix=5,
        patch=16,
        millions=1133.7,
        dim=4608,
        shapes={"patch_embed.proj.weight": (1536, 1, 16, 16), "blocks.39.mlp.fc1_g.weight": (4096, 1536)},
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
