"""Models of the Mahmood Lab: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "uni": Facts(1024, prefix=1, patch=16, shapes={"pos_embed": (1, 1 + 14**2, 1024), "blocks.0.ls1.gamma": (1024,)}),
    "uni2_h": Facts(
        1536,
        prefix=9,
        patch=14,
        millions=681.4,
        tensors=343,
        shapes={"pos_embed": (1, 16**2, 1536), "reg_token": (1, 8, 1536), "blocks.23.mlp.fc2.weight": (1536, 4096)},
    ),
    "conch": Facts(
        768, prefix=1, patch=16, dim=512, shapes={"pos_embed": (1, 1 + 28**2, 768), "token_head.k.weight": (512, 768)}
    ),
    "conch_v1_5": Facts(
        1024,
        prefix=1,
        patch=16,
        dim=768,
        shapes={"pos_embed": (1, 1 + 28**2, 1024), "blocks.23.ls2.gamma": (1024,), "token_head.k.weight": (768, 1024)},
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
