"""Throughput of a run: patches per second, waiting for data, share of the hardware's peak, and the total cost."""

import time
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from typing_extensions import override

from eva_core.accelerator import is_gpu, wait_for
from eva_core.progress import Bar, log
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.methods.base import Method
from eva_pretrain.monitor.collapse import MonitorCallback
from eva_pretrain.monitor.flops import peak_flops, step_flops


class ThroughputCallback(Callback):
    """Callback that says a line at intervals; the same numbers go to the logger.

    Attributes:
        seconds: Training time of the run over all its resumptions, in seconds.
        bar: Shows the steps.
        seen: Slides (or images of a folder) that all devices have read over all resumptions, and their patients.
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
        self.bar, self._note = Bar("training", visible=False), ""
        self._last_line = -1

    @override
    def on_train_start(self, trainer: Trainer, method: Method) -> None:  # type: ignore[override]
        views, setup = method.setup_.views, method.setup_
        per_batch = step_flops(
            method.student.vit.network,
            method.student.heads,
            views.global_size,
            views.local_size,
            views.local_crops,
            setup.batch_size,
            method.masked_share,
            method.student.vit.rates if method.student.vit.subset else (),
        )
        self._flops = per_batch * trainer.accumulate_grad_batches
        self._peak = peak_flops(trainer.strategy.root_device, str(trainer.precision))
        self._patches = setup.batch_size * trainer.accumulate_grad_batches * trainer.world_size
        self._before = self.seconds
        self._mark(trainer)
        self._began = self._since

    @override
    def on_train_batch_end(self, trainer: Trainer, method: Method, *_: Any) -> None:  # type: ignore[override]
        step = trainer.global_step
        self.bar.update(step, trainer.max_steps, self._note)
        self.seconds = self._before + time.perf_counter() - self._began
        if step == self._last_line or step == self._step or (step % self.every and step != trainer.max_steps):
            return
        self._last_line = step
        wait_for(trainer.strategy.root_device)
        loader = _loader(trainer)
        training = time.perf_counter() - self._since - (self.monitoring.seconds - self._monitoring_s)
        per_second = (step - self._step) / training
        waited = (loader.waited_s - self._waited) / training
        numbers = {"patches_per_s": per_second * self._patches, "waiting": waited}
        if self._peak is not None:
            numbers["of_peak"] = per_second * self._flops / self._peak
        method.log_dict(numbers)
        if trainer.is_global_zero:
            loss = trainer.callback_metrics.get("loss", torch.nan)
            left = (trainer.max_steps - step) / per_second
            of_peak = f", {numbers['of_peak']:.0%} of peak" if self._peak is not None else ""
            skipped = f", {method.skipped} steps skipped" if method.skipped else ""
            rate = f"{numbers['patches_per_s']:,.1f} patches/s"
            self._note = f"loss {float(loss):.3f}, {rate}, waiting {waited:.0%}{of_peak}{skipped}"
            log(f"step {step:>6} of {trainer.max_steps}: {self._note}, {_duration(left)} left")
        self._mark(trainer)

    @override
    def on_train_end(self, trainer: Trainer, method: Method) -> None:  # type: ignore[override]
        self._gather_seen(trainer)

    @override
    def on_save_checkpoint(self, trainer: Trainer, method: Method, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        self._gather_seen(trainer)
        checkpoint["eva_progress"] = {"seconds": self.seconds, "seen": [*self.seen]}

    @override
    def on_load_checkpoint(self, trainer: Any, method: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["eva_progress"]
        self.seconds, self.seen = state["seconds"], {*state["seen"]}

    def cost(self, trainer: Trainer) -> str:
        """Summarise the cost of the run in a line."""
        hours = self.seconds * trainer.world_size / 3600
        device = "GPU" if is_gpu(trainer.strategy.root_device) else "CPU"
        return (
            f"{trainer.global_step} steps: {hours:.2f} {device} hours, {trainer.global_step * self._patches:,} patches "
            f"seen, {len(self.seen):,} distinct {_loader(trainer).stream.kind}."
        )

    def _gather_seen(self, trainer: Trainer) -> None:
        new = {*_loader(trainer).slides_seen()} - self.seen  # only new ones are sent: a folder may have millions
        if trainer.world_size > 1:
            everywhere: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(everywhere, new)
            new = set().union(*everywhere)
        self.seen |= new

    def _mark(self, trainer: Trainer) -> None:
        self._since, self._monitoring_s = time.perf_counter(), self.monitoring.seconds
        self._step, self._waited = trainer.global_step, _loader(trainer).waited_s


def _loader(trainer: Trainer) -> Any:
    datamodule: Patches = trainer.datamodule  # type: ignore[attr-defined]
    return datamodule.loader


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
