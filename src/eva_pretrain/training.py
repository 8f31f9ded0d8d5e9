"""A run: Lightning's trainer with our callbacks, checkpoints that a run is taken up from, and the export at the end."""

import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from eva_core.accelerator import gpus
from eva_core.errors import EvaError, refuse
from eva_core.progress import say
from eva_pretrain.method import Method
from eva_pretrain.monitor.watch import BEST
from eva_pretrain.source import Patches

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Training:
    """On what a run trains, and what it keeps.

    Attributes:
        devices: Of each node; `auto`: as many as torchrun starts, else all GPUs, or one CPU process.
        nodes: Machines; they are started by torchrun or SLURM.
        strategy: `ddp`; `fsdp`: weights and optimiser states are divided among the devices (FSDP2); `auto`: ddp where
            there are several.
        precision: `auto`: bf16-mixed on a GPU, 32-true on a CPU.
        accumulate: Batches of one optimiser step.
        checkpoint_every: Optimiser steps; a kill loses no more.
        log_every: Optimiser steps.
    """

    devices: int | Literal["auto"] = "auto"
    nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["auto", "bf16-mixed", "16-mixed", "32-true"] = "auto"
    accumulate: int = 1
    checkpoint_every: int = 1000
    log_every: int = 50

    def __post_init__(self) -> None:
        for name in ("devices", "nodes", "accumulate", "checkpoint_every", "log_every"):
            value = getattr(self, name)
            refuse((value != "auto" and value < 1, f"training.{name} to be at least 1", value))


def make_trainer(
    training: Training, steps: int, output: Path, logger: Logger, callbacks: list[Callback], best_every: int
) -> Trainer:
    """Lightning's trainer.

    Args:
        training: The settings.
        steps: Optimiser steps.
        output: Checkpoints go below.
        logger: Where numbers go.
        callbacks: Ours, in this order.
        best_every: Steps between two looks at the nearest neighbours, of which the best checkpoint is kept; 0: none.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # what is of use we say ourselves
    for said in (
        ".*isinstance.treespec, LeafSpec",
        ".*exists and is not empty",
        "The number of training batches",
        "FSDP2-wrapped module .* returned a view",  # nothing is changed in place
    ):
        warnings.filterwarnings("ignore", said)  # we know
    on_gpu = gpus() > 0
    devices = _devices(training, on_gpu)
    folder, every = output / CHECKPOINTS, training.checkpoint_every
    keeper = partial(_Keeper, folder, auto_insert_metric_name=False, enable_version_counter=False)
    keep: list[Callback] = [keeper("step-{step}", every_n_train_steps=every)]
    if best_every:  # first, so that the checkpoint that a run is taken up from knows of it
        keep.insert(0, keeper("best-{step}", monitor=BEST, mode="max", every_n_train_steps=best_every))
    return Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        num_nodes=training.nodes,
        strategy=_strategy(training, devices * training.nodes),
        precision=training.precision if training.precision != "auto" else "bf16-mixed" if on_gpu else "32-true",
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=training.accumulate,
        default_root_dir=output,
        plugins=started_by(),
        logger=logger,
        callbacks=[*callbacks, *keep],
        log_every_n_steps=training.log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


class _Keeper(ModelCheckpoint):
    """Lightning's, for runs that are taken up again: its own forgets where it was."""

    @property
    def state_key(self) -> str:
        """Without the interval: with another one, the best checkpoint so far is still that."""
        return f"{type(self).__name__}({self.monitor})"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._last_global_step_saved = trainer.global_step  # else it saves again amid the batches of the next step


def run(trainer: Trainer, method: Method, patches: Patches, output: Path, every: int) -> None:
    """Train to the end, from the last checkpoint below `output` where there is one.

    Args:
        trainer: From `make_trainer`.
        method: What is trained.
        patches: On what.
        output: Folder of the run.
        every: Steps between two checkpoints.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; checkpoints stay.
        EvaError: What stops a run.
    """
    last = last_checkpoint(output)
    if last is not None:
        say(f"Going on from {last}.")
    try:
        trainer.fit(method, datamodule=patches, ckpt_path=last)
    except SystemExit as error:  # Lightning's way to say Ctrl-C
        raise KeyboardInterrupt from error
    except RuntimeError as error:  # torch's way to say that a process which reads is no more, at any time
        if "DataLoader worker" not in str(error):
            raise
        if trainer.received_sigterm:  # so was it
            raise KeyboardInterrupt from error
        raise EvaError(f"{' '.join(str(error).split())} If memory was short, lower data.workers.") from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    step = trainer.global_step
    if step % every:  # else it has been; devices that list the folder may not see the same
        trainer.save_checkpoint(output / CHECKPOINTS / f"step-{step}.ckpt")
    if trainer.is_global_zero:  # Lightning leaves the one that it went on from
        for checkpoint in {*_checkpoints(output)} - {last_checkpoint(output)}:
            checkpoint.unlink(missing_ok=True)


def _checkpoints(output: Path) -> Iterator[Path]:
    return (output / CHECKPOINTS).glob("step-*.ckpt")


def last_checkpoint(output: Path) -> Path | None:
    """The one of the greatest step."""
    return max(_checkpoints(output), key=step_of, default=None)


def step_of(checkpoint: Path | None) -> int:
    """The step at which it was written, by its name; -1: there is none."""
    return -1 if checkpoint is None else int(checkpoint.stem.partition("-")[2])


def best_checkpoints(output: Path) -> list[Path]:
    """Those whose nearest neighbours were the best so far: one, or more where a run was moved as it went on."""
    return [*(output / CHECKPOINTS).glob("best-*.ckpt")]


def started_by() -> SLURMEnvironment | None:
    """Our own checkpoints go on, so that SLURM need not put a run in its queue again; torchrun may run below SLURM."""
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    return None


def _devices(training: Training, on_gpu: bool) -> int:
    if training.devices != "auto":
        return training.devices
    return int(os.environ.get("LOCAL_WORLD_SIZE", gpus() if on_gpu else 1))


def _strategy(training: Training, processes: int) -> str | Strategy:
    if processes == 1:
        return "auto"
    if training.strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    return DDPStrategy(gradient_as_bucket_view=True)
