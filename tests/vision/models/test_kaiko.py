"""Models of kaiko: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "kaiko_vits16": Facts(384, prefix=1, patch=16),
    "kaiko_vits8": Facts(384, prefix=1, patch=8),
    "kaiko_vitb16": Facts(768, prefix=1, patch=16),
    "kaiko_vitb8": Facts(768, prefix=1, patch=8),
    "kaiko_vitl14": Facts(
        1024,
        prefix=5,
        patch=14,
        shapes={"pos_embed": (1, 37**2, 1024), "reg_token": (1, 4, 1024), "blocks.23.ls2.gamma": (1024,)},
    ),
    "midnight_12k": Facts(
        1536,
        prefix=1,
        patch=14,
        tensors=727 - 40 * 4 - 1,
        shapes={"pos_embed": (1, 1 + 16**2, 1536), "blocks.39.mlp.fc1.weight": (8192, 1536)},
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
