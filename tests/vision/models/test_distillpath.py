"""DistillPath: the architecture is the published one."""

import pytest

from tests.vision.models.architectures import Facts, check_architecture

FACTS = {
    f"distillpath_{begin}_{teacher}": Facts(384, prefix=1, patch=16, millions=21.7)
    for begin in ("ks16", "is16")
    for teacher in ("virchow2", "hopt0", "uni2h")
}


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    check_architecture(name, FACTS[name])
