"""Models of HistAI: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "hibou_b": Facts(
        768,
        prefix=5,
        patch=14,
        millions=85.7,
        shapes={"blocks.11.mlp.fc1.weight": (4096, 768), "blocks.11.mlp.fc2.weight": (768, 2048)},
    ),
    "hibou_l": Facts(
        1024,
        prefix=5,
        patch=14,
        shapes={"blocks.23.mlp.fc1.weight": (5472, 1024), "blocks.23.mlp.fc2.weight": (1024, 2736)},
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
