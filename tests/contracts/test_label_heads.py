"""What every registered head for several labels promises."""

import pytest
import torch

from eva_core import registry
from eva_core.contracts.head import Embedded
from eva_core.contracts.protocol import Protocol
from eva_vision.multilabel.contracts import LabelData, LabelHead

ENTRIES = [e for e in registry.heads.entries() if e.package == "eva-pathology" and issubclass(e.load(), LabelHead)]
RECIPE = Protocol("contract", runs=3)


def samples(n: int, seed: int) -> Embedded:
    """One label by the sign of a feature that a fifth is not annotated with, and a share that rises with another."""
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    y = torch.stack([(x[:, 0] > 0).double(), (3 * x[:, 1]).sigmoid().double()], dim=1)
    y[::5, 0] = torch.nan
    return Embedded(x, y)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_labels_are_learnt_in_spite_of_gaps_and_the_same_each_time(entry: registry.Entry):
    head, again = registry.heads.build(entry.name), registry.heads.build(entry.name)
    data, new = LabelData(samples(200, 0), samples(80, 1), "auprc", head.runs(RECIPE)), samples(50, 2)
    runs = head.fit(data, RECIPE)
    assert [run.run for run in runs] == list(head.runs(RECIPE))
    for run, other in zip(runs, again.fit(data, RECIPE), strict=True):
        odds = head.logits(run.params, new.x)
        assert odds.shape == (50, 2)
        assert torch.equal(odds, again.logits(other.params, new.x))
        assert ((odds[:, 0] > 0) == (new.x[:, 0] > 0)).double().mean() > 0.9
        assert torch.corrcoef(torch.stack([odds[:, 1], new.x[:, 1].double()]))[0, 1] > 0.9
        assert all(value.device.type == "cpu" for value in run.params.values())
