"""Models of Owkin: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "phikon": Facts(768, prefix=1, patch=16),
    "phikon_v2": Facts(1024, prefix=1, patch=16, tensors=439 - 24 * 4 - 1),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
