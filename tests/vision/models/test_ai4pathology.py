"""The model of AI4Pathology: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "path_orchestra": Facts(1024, prefix=1, patch=16, millions=303.4, shapes={"blocks.23.ls2.gamma": (1024,)}),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
