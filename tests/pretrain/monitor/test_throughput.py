"""What a run has cost survives a resumption, and durations are written for people."""

from types import SimpleNamespace

import pytest
import torch

from eva_pretrain.monitor.throughput import ThroughputCallback, _duration


def trainer(seen: list[tuple[str, str | None]], world: int = 1) -> SimpleNamespace:
    loader = SimpleNamespace(slides_seen=lambda: seen, stream=SimpleNamespace(kind="slides"))
    return SimpleNamespace(
        datamodule=SimpleNamespace(loader=loader),
        world_size=world,
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
    other.on_load_checkpoint(None, None, content)
    assert other.seconds == 7200.0
    assert other.seen == {("start.svs", None), ("a.svs", None), ("b.svs", "TCGA-AA-1234")}
    other._patches = 32
    assert other.cost(trainer([])) == "10 steps: 2.00 CPU hours, 320 patches seen, 3 distinct slides."  # type: ignore[arg-type]
