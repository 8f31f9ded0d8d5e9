"""The model of the Asan Medical Center: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "openpath": Facts(1536, prefix=5, patch=14, tensors=567),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
