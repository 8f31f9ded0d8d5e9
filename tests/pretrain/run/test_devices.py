"""Two processes of a run, as torchrun starts them: DDP and FSDP2 equal one process, and nothing hangs."""

import json
import math
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.testing import assert_close

from eva_core import interrupts
from eva_pretrain.augment.views import Crops, Views
from eva_pretrain.methods import base, dinov2
from eva_pretrain.methods.base import Method
from eva_pretrain.methods.dinov2 import DinoV2
from eva_pretrain.run import pretrain
from eva_pretrain.run.config import parse
from eva_vision.models.exported import exported, read_images
from tests.pretrain.run.test_pretrain import TINY

RANKS = 2
COMMON = [*TINY, "--steps", "2", "--training.checkpoint_every", "1", "--method.targets", "centring"]
WITH_HEAD = ["--method.ibot_head", "true"]
WATCHED = [*WITH_HEAD, "--monitor.every", "2", "--monitor.patches", "16"]
Found = dict[str, Any]


def plain_crops(pixels: Tensor, views: Views, *_: None) -> Crops:
    """Crops that depend on the patch alone, so that the batch may be divided in any way."""
    x = pixels.float() / 255 - 0.5
    global_ = [F.interpolate(part, views.global_size) for part in (x, x.flip(3))]
    local = [x[..., :16, :16], x[..., 8:24, 8:24]]
    return Crops(torch.cat(global_), torch.cat(local))


def plain_masks(crops: int, grid: tuple[int, int], *_: Any, **__: Any) -> Tensor:
    """The first patches of every crop."""
    return (torch.arange(grid[0] * grid[1]) < 2).expand(crops, -1)


@contextmanager
def plain() -> Iterator[None]:
    with patch.object(base, "make_crops", plain_crops), patch.object(dinov2, "masks", plain_masks):
        yield


def recorded(argv: list[str], folder: str, output: Path) -> Found:
    """Patches and losses of every batch of a run, and what it ends with on this rank."""
    steps: list[tuple[list[int], float]] = []
    last: list[Method] = []
    step = Method.training_step

    def training_step(self: Method, batch: Any, index: int) -> Tensor:
        loss = step(self, batch, index)
        steps.append((batch.number.tolist(), loss.item()))
        last[:] = [self]
        return loss

    with patch.object(Method, "training_step", training_step):
        pretrain.pretrain(parse([*COMMON, "--folder", folder, "--output", str(output), *argv]))
    trained = last[0]
    state = {name: value for name, value in trained.state_dict().items() if type(value) is Tensor}
    return {"steps": steps, "state": state, "skipped": trained.skipped, "global_step": trained.global_step}


def killed(argv: list[str], folder: str, output: Path) -> None:
    """A run that ends in its second step, before that is counted."""
    step = Method.optimizer_step

    def optimizer_step(self: Method, *args: Any, **kwargs: Any) -> None:
        step(self, *args, **kwargs)
        if self.global_step == 1:
            raise RuntimeError("killed")

    with patch.object(Method, "optimizer_step", optimizer_step), pytest.raises(RuntimeError, match="killed"):
        recorded(argv, folder, output)


@contextmanager
def one_bad_loss() -> Iterator[None]:
    """That of the second batch, on rank 1 alone."""
    losses, count = DinoV2.losses, iter(range(1000))

    def broken(self: DinoV2, crops: Crops, temperature: float) -> dict[str, Tensor]:
        bad = next(count) == 1 and dist.get_rank() == 1
        return {name: term * torch.nan if bad else term for name, term in losses(self, crops, temperature).items()}

    with patch.object(DinoV2, "losses", broken):
        yield


def without_heads(method: Method, start: str | None) -> None:
    """Weights that came without heads, which learn alone at first: the optimiser has no gradient of the rest."""
    method.heads_first = True


def stopped(folder: str, output: Path, number: int) -> Found:
    """A run whose second rank gets SIGTERM in its first step, and which goes on after it."""
    step = Method.training_step

    def training_step(self: Method, batch: Any, index: int) -> Tensor:
        if number == 1 and self.global_step == 0:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batch, index)

    more = ["--steps", "3", "--training.checkpoint_every", "9"]
    signals, told = interrupts.handled(whole_process=False), patch.object(Method, "training_step", training_step)
    with signals, told, pytest.raises(interrupts.Stopped) as stop:
        recorded(more, folder, output)
    kept = [file.name for file in (output / "checkpoints").iterdir()]
    return {"exit_code": stop.value.exit_code, "line": str(stop.value), "kept": kept}


def work(number: int, port: int, folder: str, output: Path) -> None:
    """What a process does that torchrun started."""
    torch.set_num_threads(1)
    os.environ |= {
        **{"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"},
        **{"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
    }
    found: Found = {}
    random = ["--training.accumulate", "2", "--vit.drop_path", "0.2"]
    found["random"] = recorded(random, folder, output / "random")
    killed(random, folder, output / "resumed")
    found["resumed"] = recorded(random, folder, output / "resumed")
    with one_bad_loss():
        found["bad"] = recorded(random, folder, output / "bad")
    sharded = ["--training.strategy", "fsdp"]
    with plain():
        found["ddp"] = recorded(WATCHED, folder, output / "ddp")
        found["fsdp"] = recorded([*sharded, *WATCHED, "--training.keep_every", "2"], folder, output / "fsdp")
    alone = [*sharded, *WITH_HEAD, "--recipe.heads_alone", "1"]
    with patch.object(pretrain, "load_initial_weights", without_heads):
        found["alone"] = recorded(alone, folder, output / "alone")
        killed(alone, folder, output / "alone_resumed")
        found["alone_resumed"] = recorded(alone, folder, output / "alone_resumed")
    found["stopped"] = stopped(folder, output / "stopped", number)
    torch.save(found, output / f"{number}.pt")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def found(patches: Path, output: Path) -> list[Found]:
    """Of each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, str(patches), output), nprocs=RANKS)
    return [torch.load(output / f"{number}.pt") for number in range(RANKS)]


def checkpoint(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "checkpoints/step-2.ckpt", weights_only=True)
    return state


def measures(folder: Path) -> list[dict[str, float]]:
    """What the monitor saw of all its patches, whichever device embedded them; entropy is that of a device's batch."""
    found = [json.loads(line) for line in (folder / "monitor.jsonl").read_text().splitlines()]
    own = ("monitor/teacher_entropy", "check")
    return [{name: value for name, value in line.items() if name not in own} for line in found]


def test_two_processes_equal_one_with_the_joined_batch(found: list[Found], patches: Path, output: Path) -> None:
    with plain():
        one = recorded([*WATCHED, "--batch_size", "8"], str(patches), output / "one")
    for strategy in ("ddp", "fsdp"):
        for (numbers, loss), *parts in zip(one["steps"], *(rank[strategy]["steps"] for rank in found), strict=True):
            assert sorted(n for part in parts for n in part[0]) == numbers
            assert sum(part[1] for part in parts) / RANKS == pytest.approx(loss, rel=1e-4)
        state, expected = checkpoint(output / strategy), checkpoint(output / "one")
        for name, value in expected["state_dict"].items():
            assert_close(
                state["state_dict"][name], value, rtol=1e-3, atol=1e-4, msg=lambda said, n=name: f"{n}: {said}"
            )
        for told, alone in zip(measures(output / strategy), measures(output / "one"), strict=True):
            assert told == pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize(("whole", "resumed"), [("random", "resumed"), ("alone", "alone_resumed")])
def test_a_resumed_run_is_the_run(found: list[Found], output: Path, whole: str, resumed: str) -> None:
    for rank in found:
        steps = rank[whole]["steps"]
        assert rank[resumed]["steps"] == steps[len(steps) // 2 :]  # patches and losses, to the last bit
    expected, state = (checkpoint(output / name)["state_dict"] for name in (whole, resumed))
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


def test_no_patch_is_seen_twice(found: list[Found]) -> None:
    numbers = [number for rank in found for batch, _ in rank["random"]["steps"] for number in batch]
    assert len(numbers) == len(set(numbers)) == 2 * 2 * 2 * 4  # steps, batches, ranks, patches
    assert all(rank["random"]["global_step"] == 2 for rank in found)


def test_two_processes_become_one_that_accumulates(found: list[Found], patches: Path, output: Path) -> None:
    folder = output / "moved"
    shutil.copytree(output / "resumed", folder, ignore=shutil.ignore_patterns("step-2.ckpt", "export"))
    one = recorded(["--training.accumulate", "4", "--vit.drop_path", "0.2"], str(patches), folder)
    both = [found[rank]["random"]["steps"][2 + batch] for batch in range(2) for rank in range(RANKS)]
    assert [numbers for numbers, _ in one["steps"]] == [numbers for numbers, _ in both]


def test_two_divided_processes_become_one(found: list[Found], patches: Path, output: Path) -> None:
    folder = output / "gathered"
    shutil.copytree(output / "alone_resumed", folder, ignore=shutil.ignore_patterns("step-2.ckpt", "export"))
    one = recorded([*WITH_HEAD, "--recipe.heads_alone", "1", "--batch_size", "8"], str(patches), folder)
    both = [number for rank in found for number in rank["alone"]["steps"][1][0]]
    assert [sorted(numbers) for numbers, _ in one["steps"]] == [sorted(both)]


def test_a_bad_loss_of_one_is_skipped_by_all(found: list[Found]) -> None:
    first, second = (rank["bad"] for rank in found)
    assert [math.isnan(loss) for _, loss in second["steps"]] == [False, True, False, False]
    assert not any(math.isnan(loss) for _, loss in first["steps"])
    assert first["skipped"] == second["skipped"] == 1
    for name, value in first["state"].items():
        assert torch.equal(second["state"][name], value), name  # also what they had of the batch before it
        assert value.isfinite().all(), name


def test_a_snapshot_has_the_whole_teacher_of_divided_weights(found: list[Found], output: Path) -> None:
    assert found
    snapshot = torch.load(output / "fsdp/snapshots/step-2.ckpt", weights_only=True)
    state = checkpoint(output / "fsdp")["state_dict"]
    assert snapshot["state_dict"].keys() == {name for name in state if name.startswith("teacher.vit.network.")}
    assert all(torch.equal(value, state[name]) for name, value in snapshot["state_dict"].items())
    assert snapshot["global_step"] == 2


def test_both_stop_with_a_checkpoint_where_one_gets_sigterm(found: list[Found]) -> None:
    first, second = (rank["stopped"] for rank in found)
    assert (first["exit_code"], second["exit_code"]) == (143, 143)
    assert first["kept"] == second["kept"] == ["step-2.ckpt"]  # of three
    assert "goes on after step 2 of 3, from" in first["line"]
    assert second["line"] == ""  # the first says it


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_export_has_the_teacher_and_what_all_have_seen(found: list[Found], output: Path, strategy: str) -> None:
    export = output / strategy / "export"
    assert len(read_images(export)) == 8 * 2 * 2 * 4  # a hash of 8 bytes for each
    state = checkpoint(output / strategy)["state_dict"]
    for name, value in exported(str(export)).network.state_dict().items():
        assert torch.equal(value, state[f"teacher.vit.network.{name}"]), name
