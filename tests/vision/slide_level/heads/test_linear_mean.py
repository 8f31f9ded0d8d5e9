import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_vision.slide_level.bags.stored_bags import MeanBags
from eva_vision.slide_level.contracts import BagData, Outcome
from eva_vision.slide_level.heads.linear_mean import Linear, LinearOfMeans
from eva_vision.slide_level.protocol import SlideLevel

HELD_OUT, HOLDOUT = Protocol("test"), Protocol("test", selection="holdout")
SECTION = SlideLevel(penalties=(0.1, 3.0, 1.0))


class Summed(LinearOfMeans):
    """All features count the same; the bias tells the penalty."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor, tuple[float, ...]]] = []

    @override
    def solve(self, x: Tensor, targets: Tensor, penalties: Sequence[float]) -> list[Linear]:
        self.seen.append((x, targets, tuple(penalties)))
        return [Linear(torch.ones_like(x[0]), penalty, penalty) for penalty in penalties]


class Scripted(Outcome):
    """Gives values in turn."""

    outputs = 1

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)

    @override
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError

    @override
    def value(self, outputs: Tensor, targets: Tensor) -> float:
        return self.values.pop(0)


def bags(n: int, seed: int = 0) -> MeanBags:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)) * torch.tensor([1.0, 1e4, 0.0]) + 5
    return MeanBags(x, torch.arange(n).double())


@pytest.mark.parametrize(
    ("values", "penalty"),
    [([0.1, 0.5, 0.3], 1.0), ([0.5, 0.5, 0.5], 3.0), ([math.nan, 0.2, 0.1], 1.0), ([math.nan] * 3, 3.0)],
)
def test_the_best_penalty_is_chosen_the_largest_of_equals(values: list[float], penalty: float):
    (run,) = Summed().fit(BagData(bags(9), bags(5, 1), Scripted(values), [4], SECTION), HELD_OUT)
    assert run.selected == {"penalty": penalty}
    assert run.run == 4
    assert run.selected_value == pytest.approx(max((v for v in values if v == v), default=math.nan), nan_ok=True)


def test_features_are_standardised_and_constant_ones_left_out():
    head = Summed()
    (run,) = head.fit(BagData(bags(9), bags(5, 1), Scripted([3, 2, 1]), [0], SECTION), HELD_OUT)
    ((x, targets, penalties),) = head.seen
    assert torch.allclose(x.mean(0), torch.zeros(3).double(), atol=1e-9)
    assert torch.allclose(x.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]).double())
    assert torch.equal(targets, bags(9).targets)
    assert penalties == (3.0, 1.0, 0.1)
    assert torch.allclose(head.outputs(run.params, bags(9)).double()[:, 0], x.sum(1) + 3, atol=1e-4)


@pytest.mark.parametrize(("protocol", "fits"), [(HELD_OUT, 1), (HOLDOUT, 2)])
def test_what_was_held_out_of_train_is_learnt_from_at_last(protocol: Protocol, fits: int):
    head, told = Summed(), list[tuple[int, int]]()
    data = BagData(bags(9), bags(5, 1), Scripted([1, 2, 3]), [0], SECTION, progress=lambda *now: told.append(now))
    head.fit(data, protocol)
    assert len(head.seen) == fits
    assert len(head.seen[-1][0]) == (14 if fits == 2 else 9)
    assert head.seen[-1][2] == ((0.1,) if fits == 2 else (3.0, 1.0, 0.1))
    assert told == sorted(told)
    assert told[-1] == (4, 4)


def test_where_nothing_selects_the_largest_penalty_is_taken():
    (run,) = Summed().fit(BagData(bags(9), bags(0), Scripted([]), [0], SECTION), HOLDOUT)
    assert run.selected == {"penalty": 3.0}
    assert math.isnan(run.selected_value)


def test_embeddings_that_are_not_finite_are_one_line():
    broken = bags(4)
    broken.means[1, 1] = math.inf
    with pytest.raises(EvaError, match="Expected finite means of bags"):
        Summed().fit(BagData(broken, bags(2), Scripted([1, 2, 3]), [0], SECTION), HELD_OUT)
