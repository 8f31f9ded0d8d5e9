"""Models of Mount Sinai: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    "sp22m": Facts(384, prefix=1, patch=16, millions=21.7),
    "sp85m": Facts(768, prefix=1, patch=16, millions=85.8),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
