"""Stage (d): profile of one L/14 step, and the time of crops and losses by themselves."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from pretraining import RepeatedPatches, train  # beside gpu.py
from torch.profiler import ProfilerActivity, profile

from eva_core.accelerator import is_gpu
from eva_pretrain.augment.views import Views, make_crops
from eva_pretrain.losses.dino import dinov2_loss
from eva_pretrain.losses.ibot import ibot_loss
from eva_pretrain.losses.kde import kde
from eva_pretrain.losses.koleo import koleo
from eva_pretrain.losses.teacher_targets import sinkhorn, sinkhorn_targets
from gpu_stages.stage import Bench, Figures
from gpu_stages.training import arguments

RECIPE = "compiled, subset"
TITLE = f"One step of L/14 (batch of 32, {RECIPE}): kernels, and its parts by themselves"
COLUMNS = ("ms", "launches", "idle")
TOP = 15
LAUNCH = "LaunchKernel"


class OneStep(Callback):
    """Callback that profiles one step of a run, from the end of the previous step to its own."""

    def __init__(self, step: int, device: torch.device) -> None:
        """Choose the step to profile; the first step is 1."""
        self.step = step
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu(device) else [])]
        self.profile = profile(activities=kinds)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:  # type: ignore[override]
        if trainer.global_step == self.step - 1:
            self.profile.__enter__()
        elif trainer.global_step == self.step:
            self.profile.__exit__(None, None, None)


def step(bench: Bench) -> Figures:
    """Profile a step once its kernels are chosen and its memory is held."""
    number = bench.small(2, 8)
    profiler = OneStep(number, bench.device)
    train(
        arguments(bench, "L/14", RECIPE), number, bench.scratch / "profile", [profiler], RepeatedPatches, bench.device
    )
    events = profiler.profile.events() or []
    kernels = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    launches = sum(LAUNCH in event.name for event in events)
    span = max(e.time_range.end for e in events) - min(e.time_range.start for e in events)
    return {
        "ms": span / 1e3,
        "launches": launches or None,
        "idle": 1 - busy(kernels) / span if kernels else None,
        "table": top(profiler.profile, bench.device),
    }


def busy(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of sorted intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in intervals:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def top(profiled: profile, device: torch.device) -> list[Figures]:
    """List the kernels (on a CPU: operators) that take most time."""
    name = "self_device_time_total" if is_gpu(device) else "self_cpu_time_total"
    averages = sorted(profiled.key_averages(), key=lambda entry: -getattr(entry, name))
    if is_gpu(device):
        averages = [entry for entry in averages if entry.device_type == torch.autograd.DeviceType.CUDA]
    whole = sum(getattr(entry, name) for entry in averages) or 1
    return [
        {"kernel": e.key[:90], "ms": getattr(e, name) / 1e3, "share": getattr(e, name) / whole, "calls": e.count}
        for e in averages[:TOP]
    ]


def sizes(bench: Bench) -> tuple[int, int, int]:
    """Patches of a batch, prototypes, and masked patches."""
    return bench.small((2, 32, 8), (32, 131_072, 32 * 2 * 256 * 3 // 20))


def crops(bench: Bench) -> Figures:
    """Draw and compute the crops of a batch of 256 px."""
    batch = sizes(bench)[0]
    pixels = torch.randint(0, 256, (batch, 3, 256, 256), dtype=torch.uint8, device=bench.device)
    views = Views(local_size=98)
    return {"ms": 1e3 * bench.rate(lambda: make_crops(pixels, views), bench.small(1, 10))}


def loss(bench: Bench, make: Callable[[Bench], Callable[[], torch.Tensor]]) -> Figures:
    """Time the forward and backward pass of a loss."""
    forward = make(bench)
    return {"ms": 1e3 * bench.rate(lambda: forward().backward(), bench.small(1, 10))}


def _random(bench: Bench, *shape: int) -> torch.Tensor:
    return torch.randn(shape, device=bench.device, requires_grad=True)


def _dino(bench: Bench) -> Callable[[], torch.Tensor]:
    batch, prototypes, _ = sizes(bench)
    global_logits, local_logits = (_random(bench, crops, batch, prototypes) for crops in (2, 8))
    targets = _random(bench, 2, batch, prototypes).detach().softmax(-1)
    return lambda: sum(
        dinov2_loss(global_logits, local_logits, targets, 0.1), start=torch.zeros((), device=bench.device)
    )


def _ibot(bench: Bench) -> Callable[[], torch.Tensor]:
    batch, prototypes, masked = sizes(bench)
    student, teacher = _random(bench, masked, prototypes), _random(bench, masked, prototypes).detach().softmax(-1)
    weights = torch.ones(masked, device=bench.device)
    return lambda: ibot_loss(student, teacher, weights, 2 * batch)


def _spread(term: Callable[[torch.Tensor], torch.Tensor], bench: Bench) -> Callable[[], torch.Tensor]:
    x = _random(bench, sizes(bench)[0], 1_024)
    return lambda: term(x)


def targets(bench: Bench) -> Figures:
    """Time Sinkhorn-Knopp on the logits of class tokens and of masked patches."""
    batch, prototypes, masked = sizes(bench)
    rows = [torch.randn(n, prototypes, device=bench.device) for n in (2 * batch, masked)]
    return {"ms": 1e3 * bench.rate(lambda: [sinkhorn(logits, 0.05) for logits in rows], bench.small(1, 10))}


def compiled_targets(bench: Bench) -> Figures:
    """Time Sinkhorn-Knopp and the iBOT loss, forward and backward, compiled, on bf16 logits of masked patches."""
    _, prototypes, masked = sizes(bench)
    teacher = torch.randn(masked, prototypes, device=bench.device).bfloat16()
    student, weights = torch.randn_like(teacher).requires_grad_(), torch.ones(masked, device=bench.device)

    def job() -> None:
        ibot_loss(student, sinkhorn_targets(teacher, 0.05), weights, 64).backward()

    return {"ms": 1e3 * bench.rate(job, bench.small(1, 10))}


ROWS = {
    "step": step,
    "crops": crops,
    "targets by Sinkhorn-Knopp": targets,
    "DINO loss": partial(loss, make=_dino),
    "iBOT loss": partial(loss, make=_ibot),
    "targets and iBOT loss, compiled, bf16": compiled_targets,
    "KDE": partial(loss, make=partial(_spread, partial(kde, kappa=5.0))),
    "KoLeo": partial(loss, make=partial(_spread, koleo)),
}
