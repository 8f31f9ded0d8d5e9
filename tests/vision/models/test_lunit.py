"""Models of Lunit: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "lunit_vits16": Facts(384, prefix=1, patch=16),
    "lunit_vits8": Facts(384, prefix=1, patch=8),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
