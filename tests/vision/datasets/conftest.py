"""The published counts give way to those of the file's tiny tree, and refusals are checked to be one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eva_core.errors import EvaError
from tests.vision.datasets import trees


@pytest.fixture(autouse=True)
def _tiny_counts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in trees.of_test_file(request.module.__name__.rpartition("test_")[2]):
        trees.patch_counts(monkeypatch, name, request.module)


@pytest.fixture
def refusal() -> Callable[..., str]:
    """The error that a call ends in, which is one line."""

    def call(build: Callable[..., object], root: Path, *args: object, **arguments: object) -> str:
        with pytest.raises(EvaError) as caught:
            build(str(root), *args, **arguments)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return call
