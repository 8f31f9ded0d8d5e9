"""The model of MAGIC-AI4Med: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "keep": Facts(1024, prefix=1, patch=16, millions=304.7, dim=768, shapes={"token_head.2.weight": (768, 768)}),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
