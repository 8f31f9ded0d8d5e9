"""One thread for tiny networks."""

from collections.abc import Iterator

import pytest

from eva_core.classification.gradient_head import threads


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Waking more costs more than they save, the more so where tests run side by side."""
    with threads(1):
        yield
