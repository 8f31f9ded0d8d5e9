"""What every registered head for values promises."""

import pytest
import torch

from eva_core import registry
from eva_core.contracts.head import Embedded
from eva_core.contracts.protocol import Protocol
from eva_vision.regression.contracts import RegressionHead, ValueData

ENTRIES = [e for e in registry.heads.entries() if e.package == "eva-pathology" and issubclass(e.load(), RegressionHead)]
RECIPE = Protocol("contract", runs=3)


def data(n: int, seed: int, head: RegressionHead) -> ValueData:
    """Two values that are sums of features."""
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    y = torch.stack([x[:, 0] + x[:, 1], 2 * x[:, 2] + 5], dim=1).double()
    return ValueData(Embedded(x, y), [f"p{i // 2}" for i in range(n)], head.runs(RECIPE))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_values_are_learnt_and_the_same_each_time(entry: registry.Entry):
    head, again = registry.heads.build(entry.name), registry.heads.build(entry.name)
    train, new = data(200, 0, head), data(50, 1, head)
    runs = head.fit(train, RECIPE)
    assert [run.run for run in runs] == list(head.runs(RECIPE))
    for run, other in zip(runs, again.fit(train, RECIPE), strict=True):
        values = head.values(run.params, new.train.x)
        assert values.shape == (50, 2)
        assert values.dtype == torch.float64
        assert torch.equal(values, again.values(other.params, new.train.x))
        for column in range(2):
            assert torch.corrcoef(torch.stack([values[:, column], new.train.y[:, column]]))[0, 1] > 0.9
        assert all(value.device.type == "cpu" for value in run.params.values())
