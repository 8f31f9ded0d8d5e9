from typing import Any

import numpy as np
import pytest

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError
from eva_vision.regression.values import refuse_wrong_values
from tests.conftest import Pictures


def dataset(target: Any, names: tuple[str, ...]) -> Pictures:
    found = Pictures()
    found.card = DatasetCard("values", "patch_regression", names, metric="pearson")
    found.samples = [Sample("one", "train", target)]
    return found


@pytest.mark.parametrize(
    ("target", "names"),
    [(1.5, ()), (2, ()), ((1.0, 2.0), ("a", "b")), (np.ones(2), ("a", "b")), (None, ()), (1.0, ("a",))],
)
def test_numbers_pass(target: Any, names: tuple[str, ...]):
    refuse_wrong_values(dataset(target, names))


@pytest.mark.parametrize(
    ("target", "names", "expected"),
    [
        ((1.0, np.nan), ("a", "b"), "Expected finite values, but b of 'one' is none"),
        (np.inf, (), "Expected finite values, but 'one' is none"),
        ((1.0,), ("a", "b"), r"Expected 2 numbers, as the card names them as the value of 'one', but got \(1.0,\)"),
        ("high", (), "Expected one number as the value of 'one', but got 'high'"),
        ((1.0, 2.0), (), "Expected one number"),
    ],
)
def test_what_is_no_value_is_named(target: Any, names: tuple[str, ...], expected: str):
    with pytest.raises(UsageError, match=expected):
        refuse_wrong_values(dataset(target, names))
