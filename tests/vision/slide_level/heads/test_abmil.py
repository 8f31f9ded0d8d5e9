import copy
import math
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eva_core.contracts.head import FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.slide_level.classification.outcome import Classes
from eva_vision.slide_level.contracts import BagData, Bags
from eva_vision.slide_level.heads import abmil
from eva_vision.slide_level.heads.abmil import Abmil
from eva_vision.slide_level.protocol import SlideLevel
from tests.vision.slide_level.heads.bags import ListedBags, planted

PROTOCOL = Protocol("test", warmup_epochs=2)
SECTION = SlideLevel(runs=2, epochs=4, batch_size=5, patience=None, lr=(3e-3,))
TWO = Classes(2, "balanced_accuracy")


def fitted(train: Bags, select: Bags, section: SlideLevel = SECTION, runs: range = range(2), gb: float = 4.0, **kw):
    head = kw.pop("head", Abmil(16, 8))
    return head.fit(BagData(train, select, kw.pop("outcome", TWO), runs, section, gb, **kw), PROTOCOL)


def assert_same(a: FittedRun, b: FittedRun) -> None:
    assert (a.run, a.selected_value, a.selected) == (b.run, b.selected_value, b.selected)
    for one, other in ((a.params, b.params), (a.last, b.last)):
        assert all(torch.equal(one[name], other[name]) for name in one)


class Plain(nn.Module):
    """The same network in torch's layers, for one bag."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, 16)
        self.value, self.gate, self.attend = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 1)
        self.hidden, self.classify = nn.Linear(16, 8), nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.project(x)
        weights = self.attend(self.value(h).tanh() * self.gate(h).sigmoid()).softmax(0)
        result: Tensor = self.classify(self.hidden((weights * h).sum(0)).relu())
        return result


@pytest.mark.parametrize("classes", [2, 3])
def test_training_is_that_of_a_plain_loop(classes: int):
    train, select = planted(13, 6, 0, classes), planted(7, 6, 1, classes)
    outcome = Classes(classes, "balanced_accuracy")
    (run,) = fitted(train, select, runs=range(1, 2), outcome=outcome)
    torch.manual_seed(1)
    network, order = Plain(6, outcome.outputs), np.random.default_rng(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    values, states = [], []
    for epoch in range(4):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 / (3 if epoch < 2 else 1)
        shuffled = order.permutation(13)
        for rows in (shuffled[:5], shuffled[5:10], shuffled[10:]):
            optimizer.zero_grad()
            logits = torch.stack([network(train.x[row]) for row in rows])
            outcome.loss(logits, train.targets[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            values.append(outcome.value(torch.stack([network(x) for x in select.x]), select.targets))
        states.append(copy.deepcopy(network.state_dict()))
    best = int(np.argmax(values))
    assert run.selected == {"epoch": best + 1, "lr": 3e-3}
    assert run.selected_value == pytest.approx(values[best])
    for params, state in ((run.params, states[best]), (run.last, states[-1])):
        for name in state.keys() - {"attend.bias"}:  # of which softmax takes no notice
            assert torch.allclose(params[name], state[name], atol=1e-5), name
    said = Abmil(16, 8).outputs(run.last, select)
    assert torch.allclose(said, torch.stack([network(x) for x in select.x]), atol=1e-5)


def test_sizes_are_those_of_the_published_head():
    params = Abmil().parameters(384, 1)
    shapes = {name: tuple(p.shape) for name, p in params.items() if name.endswith("weight")}
    assert shapes == {
        "project.weight": (128, 384),
        "value.weight": (128, 128),
        "gate.weight": (128, 128),
        "attend.weight": (1, 128),
        "hidden.weight": (64, 128),
        "classify.weight": (1, 64),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("features", [6, 16])
def test_streamed_bags_give_the_bits_of_those_in_memory(dtype: torch.dtype, features: int):
    train, select = planted(12, features, 0, longest=40), planted(6, features, 1)
    for bags in (train, select):
        bags.x = [x.to(dtype) for x in bags.x]
    kept = fitted(train, select)
    once = train.most_read
    streamed = fitted(train, select, gb=1e-9)
    assert train.most_read > 2 * once  # it did stream
    for a, b in zip(kept, streamed, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("gb", [4.0, 2e-6])
def test_runs_side_by_side_are_as_alone(monkeypatch: pytest.MonkeyPatch, gb: float):
    train, select = planted(12, 6, 0), planted(6, 6, 1)
    alone = [fitted(train, select, runs=range(k, k + 1), gb=gb)[0] for k in range(3)]
    monkeypatch.setattr(abmil, "_THREADED", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = fitted(train, select, runs=range(3), gb=gb)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    for a, b in zip(alone, together, strict=True):
        assert_same(a, b)


def test_the_better_learning_rate_is_kept():
    train, select = planted(24, 6, 0), planted(12, 6, 1)
    runs = fitted(train, select, replace(SECTION, lr=(1e-7, 1e-2), epochs=12))
    assert [run.run for run in runs] == [0, 1]
    assert {run.selected["lr"] for run in runs} == {1e-2}


def test_a_learning_rate_whose_value_is_undefined_is_not_kept(monkeypatch: pytest.MonkeyPatch):
    def train(self: abmil._Run, told: object) -> FittedRun:
        del told
        return FittedRun(self.run, {}, {}, {1e-3: math.nan, 1e-2: 0.5, 1e-1: 0.7}[self.lr], {"lr": self.lr})

    monkeypatch.setattr(abmil._Run, "train", train)
    runs = fitted(planted(6, 4, 0), planted(4, 4, 1), replace(SECTION, lr=(1e-3, 1e-2, 1e-1)))
    assert {run.selected["lr"] for run in runs} == {1e-1}


@pytest.mark.parametrize(("gb", "expected"), [(4.0, 3), (8e-5, 2), (1e-9, 1)])
def test_runs_that_stream_share_the_memory(monkeypatch: pytest.MonkeyPatch, gb: float, expected: int):
    at_once: list[int] = []
    whole = abmil._in_threads

    def noted(jobs, count, told):
        at_once.append(count)
        return whole(jobs, count, told)

    monkeypatch.setattr(abmil, "_in_threads", noted)
    monkeypatch.setattr(abmil, "_runs_at_once", lambda *_: 3)
    bags = ListedBags([torch.randn(20, 16) for _ in range(80)], torch.arange(80) % 2)  # a run needs 38.4 kB
    fitted(bags, planted(4, 16, 1), replace(SECTION, epochs=1), range(3), gb=gb)
    assert at_once == [expected]


class Falling(Classes):
    """Values by number of call."""

    def __init__(self, values: list[float]) -> None:
        super().__init__(2, "accuracy")
        self.values, self.calls = values, 0

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        del outputs, targets
        self.calls += 1
        return self.values[min(self.calls, len(self.values)) - 1]


@pytest.mark.parametrize(
    ("values", "patience", "epoch", "epochs"),
    [
        ([0.5, 0.7, 0.6, 0.7, 0.6, 0.9], 3, 2, 5),
        ([0.5, 0.7, 0.6, 0.7, 0.6, 0.9], None, 6, 9),
        ([0.5, math.nan, math.nan, 0.1], 2, 1, 3),
        ([math.nan, 0.2, 0.1], 1, 2, 3),
    ],
)
def test_patience_counts_epochs_without_a_gain(values: list[float], patience: int | None, epoch: int, epochs: int):
    outcome = Falling(values)
    section = replace(SECTION, epochs=9, patience=patience)
    (run,) = fitted(planted(6, 4, 0), planted(4, 4, 1), section, range(1), outcome=outcome)
    assert run.selected["epoch"] == epoch
    assert outcome.calls == epochs


def test_where_nothing_selects_the_last_epoch_is_kept():
    (run,) = fitted(planted(6, 4, 0), ListedBags([], torch.zeros(0, dtype=torch.long)), runs=range(1))
    assert run.selected["epoch"] == 4
    assert math.isnan(run.selected_value)
    assert all(torch.equal(run.params[name], run.last[name]) for name in run.params)


class Doubles(Classes):
    """Values, learnt by squared error."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 0] - targets.to(outputs.dtype)).square().mean()

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        return -float((outputs[:, 0] - targets).square().mean())

    def units(self, targets: Tensor) -> tuple[float, float]:
        return float(targets.mean()), float(targets.std())


def test_values_of_any_scale_are_learnt_in_units_of_their_own_and_told_in_theirs():
    def of(scale: float, zero: float) -> tuple[FittedRun, Tensor]:
        train, select = planted(20, 6, 0), planted(10, 6, 1)
        for bags in (train, select):
            bags.targets = bags.targets.double() * scale + zero
        (run,) = fitted(train, select, replace(SECTION, epochs=60), range(1), outcome=Doubles(2, "accuracy"))
        return run, Abmil(16, 8).outputs(run.params, select)[:, 0]

    small, large = of(1e-6, 0), of(1e6, 3e6)
    assert large[0].selected["epoch"] == small[0].selected["epoch"]
    assert torch.allclose(small[1] / 1e-6, (large[1] - 3e6) / 1e6, atol=1e-4)
    truth = planted(10, 6, 1).targets
    assert (small[1] / 1e-6 - truth).abs().mean() < 0.2
    assert large[0].selected_value == pytest.approx(1e12 * -float(((large[1] - 3e6) / 1e6 - truth).square().mean()))


def test_attention_finds_the_patch_that_tells():
    train, select = planted(60, 8, 0, longest=20), planted(30, 8, 1, longest=20)
    (run,) = fitted(train, select, replace(SECTION, epochs=40), range(1), head=Abmil())
    found = []
    for x in planted(20, 8, 2, longest=20).x:
        weights = Abmil().attention(run.params, x)
        assert weights is not None
        assert weights.shape == (len(x),)
        assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
        found.append(int(weights.argmax()) == 0)
    assert np.mean(found) > 0.9


def test_heads_speak_together_as_alone_and_bags_are_read_once():
    train, select = planted(12, 6, 0), planted(6, 6, 1)
    runs, head = fitted(train, select), Abmil(16, 8)
    select.most_read = 0
    together = head.outputs_of_all([run.params for run in runs], select)
    assert select.most_read == len(select)
    for of_one, run in zip(together, runs, strict=True):
        assert torch.equal(of_one, head.outputs(run.params, select))


def test_few_epochs_of_few_bags_move_only_forward():
    told: list[tuple[int, int]] = []
    section = replace(SECTION, epochs=9, patience=1)
    fitted(planted(6, 4, 0), planted(4, 4, 1), section, progress=lambda *now: told.append(now))
    assert told == sorted(told)
    assert told[-1] == (18, 18)


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_interrupt_ends_all_runs_soon(monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(abmil, "_THREADED", 0 if at_once > 1 else math.inf)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(done: int, total: int) -> None:
        del total
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)  # to the process, as Ctrl-C is: the thread that waits gets it

    try:
        with pytest.raises(KeyboardInterrupt):
            fitted(planted(6, 4, 0), planted(4, 4, 1), replace(SECTION, epochs=10_000), progress=interrupt)
    finally:
        torch.set_num_threads(before)
    assert not [t for t in threading.enumerate() if "ThreadPoolExecutor" in t.name]


@pytest.mark.parametrize("build", [lambda: Abmil(width=0), lambda: Abmil(hidden=-1)])
def test_wrong_sizes_are_one_line(build: Callable[[], Abmil]):
    with pytest.raises(UsageError, match="at least 1, but got"):
        build()
