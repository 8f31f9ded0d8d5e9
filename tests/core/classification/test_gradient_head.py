"""Gradient training: against a plain torch loop, and each run against itself alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from eva_core.classification import gradient_head as training
from eva_core.contracts.head import Embedded, FittedRun, FittingData
from eva_core.contracts.protocol import Protocol
from eva_vision.heads.linear import Linear
from eva_vision.heads.mlp import Mlp

RECIPE = Protocol("test", lr=(1e-2,), batch_size=32, steps=60, warmup_epochs=2, seed=5)


def embeddings(samples: int, classes: int, seed: int, features: int = 24) -> Embedded:
    """Random clouds, one per class, that overlap."""
    centres = 0.5 * torch.randn(classes, features, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (samples,), generator=generator)
    return Embedded(centres[y] + torch.randn(samples, features, generator=generator), y)


def fit(head: training.GradientHead, classes: int, recipe: Protocol, runs: list[int], **kwargs) -> list[FittedRun]:
    data = FittingData(embeddings(75, classes, 1), embeddings(40, classes, 2), classes, runs, **kwargs)
    return head.fit(data, recipe)


def same(a: FittedRun, b: FittedRun) -> bool:
    tensors = [(a.params[name], b.params[name]) for name in a.params] + [
        (a.last[name], b.last[name]) for name in a.last
    ]
    return (a.run, a.selected_value, a.selected) == (b.run, b.selected_value, b.selected) and all(
        torch.equal(x, y) for x, y in tensors
    )


def plain(layer: nn.Module, train: Embedded, classes: int, recipe: Protocol, generator: torch.Generator) -> None:
    """What the loop must amount to, in torch's own words."""
    optimiser = torch.optim.AdamW(layer.parameters(), recipe.lr[0], recipe.betas, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, recipe.warmup_factor, recipe.warmup_epochs)
    step = 0
    while step < recipe.steps:
        for rows in torch.randperm(len(train), generator=generator).split(recipe.batch_size):
            logits, y = layer(train.x[rows]), train.y[rows]
            if classes == 2:
                loss = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.float())
            else:
                loss = nn.functional.cross_entropy(logits, y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            if step == recipe.steps:
                return
        schedule.step()


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("weight_decay", [0.01, 1.0])
def test_equals_a_plain_torch_loop(classes: int, kind: str, weight_decay: float) -> None:
    recipe, outputs = replace(RECIPE, weight_decay=weight_decay), 1 if classes == 2 else classes
    generator = torch.manual_seed(recipe.seed + 3)  # the global one: layers draw their weights from it
    layers = [nn.Linear(24, outputs)] if kind == "linear" else [nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, outputs)]
    module = nn.Sequential(*layers)
    with training.threads(1):
        plain(module, embeddings(75, classes, 1), classes, recipe, generator)

    (run,) = fit(Linear() if kind == "linear" else Mlp(hidden=16), classes, recipe, [3])
    for ours, theirs in zip(run.last.values(), module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", [Linear(), Mlp(hidden=7)], ids=["linear", "mlp"])
@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("features", [1, 24, 33])
def test_a_run_in_a_stack_equals_the_run_alone(head: training.GradientHead, classes: int, features: int) -> None:
    train, select = embeddings(75, classes, 1, features), embeddings(40, classes, 2, features)
    together = head.fit(FittingData(train, select, classes, [0, 2, 9], patience=4), RECIPE)
    assert [run.run for run in together] == [0, 2, 9]
    for run in together:
        assert same(run, head.fit(FittingData(train, select, classes, [run.run], patience=4), RECIPE)[0])
    assert not same(together[0], replace(together[1], run=0))


def test_one_after_another_equals_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    stacked = fit(Linear(), 4, RECIPE, [0, 1, 2])
    monkeypatch.setattr(training, "_STACKED", 0)
    assert all(same(a, b) for a, b in zip(stacked, fit(Linear(), 4, RECIPE, [0, 1, 2]), strict=True))


def scripted(monkeypatch: pytest.MonkeyPatch, *values: float) -> list[int]:
    """Make every evaluation return the next of `values` for all runs; the list returned counts evaluations."""
    calls: list[int] = []

    def score(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append(len(logits))
        return torch.full((len(logits),), values[min(len(calls), len(values)) - 1])

    monkeypatch.setattr(training, "selection_metric", lambda name: score)
    return calls


def test_the_first_of_equal_values_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = scripted(monkeypatch, 0.25, 0.75, 0.75, 0.5)
    (run,) = fit(Linear(), 3, RECIPE, [0])
    assert (run.selected, run.selected_value) == ({"step": 6, "lr": 1e-2}, 0.75)
    assert len(calls) == 20  # epochs of 3 steps
    (until,) = fit(Linear(), 3, replace(RECIPE, steps=6), [0])
    assert all(torch.equal(run.params[name], until.last[name]) for name in run.params)


def test_a_run_stops_after_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = scripted(monkeypatch, 0.25, 0.75, 0.5)
    (run,) = fit(Linear(), 3, RECIPE, [0], patience=4)
    assert len(calls) == 6  # the second was best, four more did not improve
    assert run.selected["step"] == 6
    monkeypatch.undo()
    (until,) = fit(Linear(), 3, replace(RECIPE, steps=18), [0])
    assert all(torch.equal(run.last[name], until.last[name]) for name in run.last)


@pytest.mark.parametrize(("steps", "every", "expected"), [(8, None, 2), (2, None, 1), (8, 2, 4), (9, 4, 2), (3, 4, 1)])
def test_when_evaluation_happens(monkeypatch: pytest.MonkeyPatch, steps: int, every: int | None, expected: int) -> None:
    """Epochs have 3 steps; an epoch cut short selects nothing unless there is nothing else."""
    calls = scripted(monkeypatch, 0.5)
    fit(Linear(), 3, replace(RECIPE, steps=steps, evaluate_every=every), [0, 1])
    assert calls == [2] * expected


def test_the_best_learning_rate_is_kept() -> None:
    rates = (1e-6, 1e-2, 1e-1)
    alone = [fit(Linear(), 4, replace(RECIPE, lr=(rate,)), [0, 1]) for rate in rates]
    best = max(alone, key=lambda runs: sum(run.selected_value for run in runs))
    kept = fit(Linear(), 4, replace(RECIPE, lr=rates), [0, 1])
    assert all(same(a, b) for a, b in zip(kept, best, strict=True))
    assert kept[0].selected["lr"] != rates[0]


def test_a_gain_below_min_delta_does_not_count_for_patience_but_is_kept() -> None:
    recipe = replace(RECIPE, steps=600, lr=(1e-3,), evaluate_every=1)
    ((eager,), (strict,)) = (
        fit(Linear(), 4, replace(recipe, min_delta=delta), [0], patience=40) for delta in (0.0, 0.1)
    )
    assert strict.selected["step"] < eager.selected["step"]  # it stopped while the score still crept up
    (short,) = fit(Linear(), 4, replace(recipe, steps=int(strict.selected["step"])), [0])
    assert strict.selected_value == short.selected_value  # the best checkpoint is the best all the same


def test_threads_are_restored_and_progress_is_told() -> None:
    before, told = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        recipe = replace(RECIPE, steps=150, lr=(1e-3, 1e-2))
        fit(
            Linear(),
            3,
            recipe,
            [0, 1],
            progress=lambda done, total: told.append((done, total, torch.get_num_threads())),
        )
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), training.threads(1):
            _ = 1 / 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert told == [(200, 600, 1), (300, 600, 1), (500, 600, 1), (600, 600, 1)]


def test_the_loss_gradient_is_that_of_torch() -> None:
    for outputs in (1, 4):
        logits = torch.randn(9, outputs, generator=torch.Generator().manual_seed(0), requires_grad=True)
        y = torch.arange(9) % max(2, outputs)
        if outputs == 1:
            targets = y[:, None].float()
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
        else:
            targets, loss = nn.functional.one_hot(y).float(), nn.functional.cross_entropy(logits, y)
        (expected,) = torch.autograd.grad(loss, logits)
        torch.testing.assert_close(training.loss_gradient(logits.detach(), targets), expected)
        torch.testing.assert_close(training.loss_gradient(logits.detach().T, targets.T, dim=-2), expected.T)
