"""What a run has cost survives a resumption, and durations are written for people."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eva_pretrain.monitor import throughput as module
from eva_pretrain.monitor.throughput import ThroughputCallback, _duration, step_numbers
from eva_pretrain.optimisation.recipe import Recipe, Schedule


def trainer(seen: list[tuple[str, str | None]], world: int = 1) -> SimpleNamespace:
    loader = SimpleNamespace(
        slides_seen=lambda: seen,
        stream=SimpleNamespace(kind="slides", drawn=lambda batches: None),
        mpp=(0.5, 1.0),
        batches=10,
        new_content=lambda: np.empty(0, np.uint64),
    )
    return SimpleNamespace(
        datamodule=SimpleNamespace(loader=loader, mpp=None),
        world_size=world,
        global_rank=0,
        default_root_dir="unused",
        global_step=10,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 min 00 s"), (61, "1 min 01 s"), (3599.6, "1 h 00 min"), (90_000, "25 h 00 min")]
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_seconds_and_slides_go_through_a_checkpoint():
    throughput, content = ThroughputCallback(50, None, [("start.svs", None)]), {}  # type: ignore[arg-type]
    throughput.seconds = 7200.0
    throughput.on_save_checkpoint(trainer([("a.svs", None), ("b.svs", "TCGA-AA-1234")]), None, content)  # type: ignore[arg-type]
    other = ThroughputCallback(50, None)  # type: ignore[arg-type]
    other.on_load_checkpoint(trainer([]), None, content)
    assert other.seconds == 7200.0
    assert other.seen == {("start.svs", None), ("a.svs", None), ("b.svs", "TCGA-AA-1234")}
    assert other.mpp == [0.5, 1.0]
    other._patches = 32
    assert other.cost(trainer([])) == "10 steps: 2.00 CPU hours, 320 patches seen, 3 distinct slides."  # type: ignore[arg-type]


def test_numbers_of_a_step_are_means_over_batches_and_devices_and_the_slowest_waits(monkeypatch: pytest.MonkeyPatch):
    method = SimpleNamespace(
        terms=[{"loss": torch.tensor(loss), "loss/dino": torch.tensor(loss / 2)} for loss in (2.0, 4.0)],
        gradient_norm=torch.tensor(1.5),
        schedule=Schedule(Recipe(steps=10), 32),
        skipped=1,
    )
    monkeypatch.setattr(module, "world", lambda: 2)
    monkeypatch.setattr(module, "all_reduce_sum", lambda x: x + torch.tensor([5.0, 2.5, 1.5]))  # the other device
    monkeypatch.setattr(module, "all_reduce_max", lambda x: x.clamp(min=0.75))
    numbers = step_numbers(method, 4, waiting=0.25)  # type: ignore[arg-type]
    planned = method.schedule(3)  # what the fourth step was made with
    assert numbers == {
        "loss": 4.0,
        "loss/dino": 2.0,
        "gradient_norm": 1.5,
        "waiting": 0.75,
        "schedule/lr": planned.lr,
        "schedule/last_layer_lr": planned.last_layer_lr,
        "schedule/weight_decay": planned.weight_decay,
        "schedule/momentum": planned.momentum,
        "schedule/temperature": planned.temperature,
        "skipped": 1,
    }
