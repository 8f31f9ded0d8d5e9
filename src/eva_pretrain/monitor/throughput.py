"""Numbers of a run at intervals: losses, schedules, patches per second, waiting for data; and its total cost."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from typing_extensions import override

from eva_core.accelerator import is_gpu, wait_for
from eva_core.progress import Bar, log
from eva_pretrain.compilation import seconds_compiling
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.data.seen_images import note_seen
from eva_pretrain.distributed import all_reduce_max, all_reduce_sum, world
from eva_pretrain.methods.base import Method
from eva_pretrain.monitor.collapse import MonitorCallback
from eva_pretrain.monitor.flops import peak_flops, step_flops


class ThroughputCallback(Callback):
    """Callback that says a line at intervals, of the first step and of the last; its numbers are kept for the log.

    Attributes:
        seconds: Training time of the run over all its resumptions, in seconds.
        bar: Shows the steps.
        seen: Slides that all devices have read over all resumptions, and their patients; of images, patients alone.
        mpp: Least and greatest micrometres per pixel of all patches so far; empty where unknown.
        numbers: Numbers of the last line by name, and its step.
    """

    def __init__(
        self, every: int, monitoring: MonitorCallback, seen_before: Iterable[tuple[str, str | None]] = ()
    ) -> None:
        """Set up the callback.

        Args:
            every: Optimiser steps between two lines.
            monitoring: Monitor whose measurements do not count as training time.
            seen_before: Slides and patients that the initial weights have seen.
        """
        self.every, self.monitoring, self.seconds = every, monitoring, 0.0
        self.seen = {*seen_before}
        self.mpp: list[float] = []
        self.bar, self._note = Bar("training", visible=False), ""
        self.numbers: tuple[int, dict[str, float]] = (-1, {})

    @override
    def on_train_start(self, trainer: Trainer, method: Method) -> None:  # type: ignore[override]
        self._peak = peak_flops(trainer.strategy.root_device, str(trainer.precision))
        self._patches = method.setup_.batch_size * trainer.accumulate_grad_batches * trainer.world_size
        self._before = self.seconds
        self._mark(trainer)
        self._began, self._first = self._since, trainer.global_step + 1

    @override
    def on_train_batch_end(self, trainer: Trainer, method: Method, *_: Any) -> None:  # type: ignore[override]
        step = trainer.global_step
        self.bar.update(step, trainer.max_steps, self._note)
        self.seconds = self._before + time.perf_counter() - self._began
        if step in (self._step, self.numbers[0]):  # amid the batches of a step
            return
        first = step == self._first  # its time is that of reading the first batch and of compiling
        if step % self.every == 0 or step in (1, trainer.max_steps):
            self._line(trainer, method, first)
        elif not first:
            return
        self._mark(trainer)

    def _line(self, trainer: Trainer, method: Method, first: bool) -> None:
        """Take the numbers of a step on all devices, and say them on the first."""
        step = trainer.global_step
        wait_for(trainer.strategy.root_device)
        training = time.perf_counter() - self._since - (self.monitoring.seconds - self._monitoring_s)
        per_second = (step - self._step) / training
        waited = (_loader(trainer).waited_s - self._waited) / training
        numbers = step_numbers(method, step, waited)
        if first:
            del numbers["waiting"]
        else:
            numbers["patches_per_s"] = per_second * self._patches
            if self._peak is not None and method.teachers is not None:
                flops = trainer.accumulate_grad_batches * _batch_flops(method, method.teachers)
                numbers["of_peak"] = per_second * flops / self._peak
        numbers["seconds"] = self.seconds
        self.numbers = (step, numbers)
        if trainer.is_global_zero:
            skipped = f", {method.skipped} steps skipped" if method.skipped else ""
            self._note = f"loss {numbers['loss']:.3f}{_rates(numbers)}{skipped}"
            left = (
                f"the first took {training:.1f} s{_compiling()}"
                if first
                else f"{_duration((trainer.max_steps - step) / per_second)} left"
            )
            log(f"step {step:>6} of {trainer.max_steps}: {self._note}, {left}")

    @override
    def on_train_end(self, trainer: Trainer, method: Method) -> None:  # type: ignore[override]
        self._gather_seen(trainer)

    @override
    def on_save_checkpoint(self, trainer: Trainer, method: Method, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        self._gather_seen(trainer)
        checkpoint["eva_progress"] = {"seconds": self.seconds, "seen": [*self.seen], "mpp": self.mpp}

    @override
    def on_load_checkpoint(self, trainer: Any, method: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["eva_progress"]
        self.seconds, self.seen = state["seconds"], {*state["seen"]}
        patches: Patches = trainer.datamodule
        self.mpp = list(state.get("mpp", patches.mpp or ()))  # earlier, what was asked for

    def cost(self, trainer: Trainer) -> str:
        """Summarise the cost of the run in a line."""
        hours = self.seconds * trainer.world_size / 3600
        device = "GPU" if is_gpu(trainer.strategy.root_device) else "CPU"
        return (
            f"{trainer.global_step} steps: {hours:.2f} {device} hours, {trainer.global_step * self._patches:,} patches "
            f"seen, {self._distinct(trainer):,} distinct {_loader(trainer).stream.kind}."
        )

    def _gather_seen(self, trainer: Trainer) -> None:
        loader = _loader(trainer)
        new = ({*loader.slides_seen()} - self.seen, [] if loader.mpp is None else [*loader.mpp])
        everywhere: list[Any] = [new]
        if trainer.world_size > 1:
            everywhere *= trainer.world_size
            torch.distributed.all_gather_object(everywhere, new)
        for slides, mpp in everywhere:
            self.seen |= slides
            self.mpp += mpp
        self.mpp = [min(self.mpp), max(self.mpp)] if self.mpp else []
        note_seen(Path(trainer.default_root_dir), f"rank-{trainer.global_rank}", loader.new_content())

    def _distinct(self, trainer: Trainer) -> int:
        """Number of slides or images that all devices have read."""
        loader = _loader(trainer)
        drawn = loader.stream.drawn(loader.batches)
        return len(self.seen) if drawn is None else len(drawn) - len(loader.failures)

    def _mark(self, trainer: Trainer) -> None:
        self._since, self._monitoring_s = time.perf_counter(), self.monitoring.seconds
        self._step, self._waited = trainer.global_step, _loader(trainer).waited_s


def step_numbers(method: Method, step: int, waiting: float) -> dict[str, float]:
    """Losses, norm of the gradient and schedules of an optimiser step, by name, the same on all devices.

    Args:
        method: The method after that step.
        step: Number of the step, from 1.
        waiting: Share of the time that this device waited for data; that of the slowest is given back.

    Returns:
        `loss` and its terms, means over the batches of the step on all devices; `gradient_norm` before clipping, NaN
        where the step was skipped; `waiting`; `schedule/lr` and the like; `skipped`, the steps skipped so far.
    """
    names = [*method.terms[0]]
    losses = torch.stack([torch.stack([terms[name].float() for terms in method.terms]).mean() for name in names])
    norm = losses.new_tensor(torch.nan) if method.gradient_norm is None else method.gradient_norm.float()
    means = all_reduce_sum(torch.cat([losses, norm[None]])) / world()
    slowest = all_reduce_max(losses.new_tensor([waiting]))
    *values, gradient_norm, waited = torch.cat([means, slowest]).tolist()
    planned = method.schedule(step - 1)
    return {
        **dict(zip(names, values, strict=True)),
        "gradient_norm": gradient_norm,
        "waiting": waited,
        "schedule/lr": planned.lr,
        "schedule/last_layer_lr": planned.last_layer_lr,
        "schedule/weight_decay": planned.weight_decay,
        "schedule/momentum": planned.momentum,
        "schedule/temperature": planned.temperature,
        "skipped": method.skipped,
    }


def _batch_flops(method: Method, teachers: Sequence[int]) -> float:
    setup, vit = method.setup_, method.student.vit
    rates = vit.rates if vit.subset else ()
    heads, hidden = method.student.heads, method.masked_share
    return step_flops(vit.network, heads, setup.views, setup.batch_size, hidden, rates, teachers)


def _rates(numbers: dict[str, float]) -> str:
    if "patches_per_s" not in numbers:
        return ""
    of_peak = f", {numbers['of_peak']:.0%} of peak" if "of_peak" in numbers else ""
    return f", {numbers['patches_per_s']:,.1f} patches/s, waiting {numbers['waiting']:.0%}{of_peak}"


def _compiling() -> str:
    seconds = seconds_compiling()
    return f", {seconds:.1f} s of them compiling" if seconds else ""


def _loader(trainer: Trainer) -> Any:
    datamodule: Patches = trainer.datamodule  # type: ignore[attr-defined]
    return datamodule.loader


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
