"""The linear probe of THUNDER against torch's own Adam, with the same batches."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

from eva_core.contracts.head import Embedded, FittingData
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.heads.linear import linear_layer
from eva_vision.heads.linear_thunder import LinearThunder

PROTOCOL = Protocol("it", lr=(1e-2, 1e-3), batch_size=16)
DECAYS = (0.0, 0.1)


def embedded(n: int, classes: int, seed: int) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    return Embedded(torch.randn(n, 6, generator=generator) + nn.functional.one_hot(y, 6) * 1.5, y)


def reference(data: FittingData, epochs: int) -> tuple[tuple[float, float, float, int], dict[str, np.ndarray]]:
    """Value, learning rate, weight decay and epoch of the best by torch's own layers, optimiser and loss."""
    generator = torch.Generator().manual_seed(PROTOCOL.seed)
    settings = [(lr, decay) for lr in PROTOCOL.lr for decay in DECAYS]
    layers = []
    for _ in settings:
        layer = nn.Linear(data.train.x.shape[1], data.classes)
        weight, bias = linear_layer(data.train.x.shape[1], data.classes, generator)
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(bias)
        layers.append(layer)
    groups = [
        {"params": m.parameters(), "lr": lr, "weight_decay": d} for m, (lr, d) in zip(layers, settings, strict=True)
    ]
    adam = torch.optim.Adam(groups)
    best, params = (-1.0, 0.0, 0.0, 0), {}
    for epoch in range(epochs):
        for rows in torch.randperm(len(data.train), generator=generator).split(PROTOCOL.batch_size):
            adam.zero_grad()
            loss = sum(nn.functional.cross_entropy(m(data.train.x[rows]), data.train.y[rows]) for m in layers)
            loss.backward()
            adam.step()
        for layer, (lr, decay) in zip(layers, settings, strict=True):
            value = f1_score(data.select.y, layer(data.select.x).argmax(1), average="macro")
            if value > best[0]:
                best = (value, lr, decay, epoch + 1)
                params = {name: p.detach().numpy().copy() for name, p in layer.named_parameters()}
    return best, params


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_adam_over_the_grid_and_the_best_epoch(classes: int):
    data = FittingData(embedded(70, classes, 0), embedded(90, classes, 1), classes, metric="f1")
    (run,) = LinearThunder(DECAYS, epochs=12).fit(data, PROTOCOL)
    (value, lr, decay, epoch), params = reference(data, 12)
    assert run.selected == {"epoch": epoch, "lr": lr, "weight_decay": decay}
    assert run.selected_value == pytest.approx(value)
    for name, expected in params.items():
        np.testing.assert_allclose(run.params[name].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert LinearThunder().logits(run.params, data.select.x).shape == (90, classes)


def test_a_lower_metric_is_better_where_it_is_an_error():
    data = FittingData(embedded(70, 3, 0), embedded(90, 3, 1), 3, metric="ece")
    few, many = (LinearThunder(DECAYS, epochs).fit(data, PROTOCOL)[0].selected_value for epochs in (1, 12))
    assert many <= few


def test_a_class_that_train_lacks_is_never_said():
    train = embedded(60, 3, 0)
    (run,) = LinearThunder(epochs=3).fit(FittingData(train, embedded(30, 4, 1), 4), PROTOCOL)
    assert torch.isneginf(LinearThunder().logits(run.params, train.x)[:, 3]).all()


def test_progress_counts_epochs_of_all_runs():
    told: list[tuple[int, int]] = []
    data = FittingData(embedded(20, 2, 0), embedded(10, 2, 1), 2, (0, 1), progress=lambda *done: told.append(done))
    LinearThunder(epochs=2).fit(data, PROTOCOL)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("arguments", [{"weight_decay": ()}, {"weight_decay": (-1.0,)}, {"epochs": 0}])
def test_arguments_that_make_no_grid_are_refused(arguments: dict[str, object]):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        LinearThunder(**arguments)  # type: ignore[arg-type]
