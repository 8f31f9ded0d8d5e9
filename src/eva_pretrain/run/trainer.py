"""Training: Lightning's trainer with our callbacks, and checkpoints from which a run resumes."""

import logging
import warnings
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import distributed as dist
from typing_extensions import override

from eva_core import interrupts
from eva_core.accelerator import gpus
from eva_core.errors import EvaError, UsageError, refuse
from eva_core.extraction.launching import ThisMachine
from eva_core.interrupts import Stopped
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.methods.base import Method
from eva_pretrain.monitor.collapse import BEST
from eva_pretrain.run.checkpoints import CHECKPOINTS, SNAPSHOTS, ChecksummedCheckpoints, prune, resume_note
from eva_pretrain.run.launchers import devices_of
from eva_pretrain.run.stopping import Stopping

MOST_NODES = 100_000
"""More machines than any cluster has."""
LONGEST = 525_600
"""Minutes of a year."""


@dataclass(frozen=True)
class Training:
    """Devices of a run, and how often it logs and keeps a checkpoint.

    Attributes:
        devices: Devices of each node; `auto`: as many as torchrun starts, else all GPUs, or one CPU process.
        nodes: Number of machines; torchrun or SLURM starts the processes.
        strategy: `ddp`; `fsdp`: weights and optimiser states are divided among the devices (FSDP2); `auto`: ddp where
            there are several.
        shard_over: Devices that share one copy of weights and states under `fsdp`, such as those of a node (HSDP): a
            divisor of all; none: all of them.
        precision: `auto`: bf16-mixed on a GPU, 32-true on a CPU.
        accumulate: Batches of one optimiser step.
        checkpoint_every: Optimiser steps between two checkpoints; a killed run loses no more.
        keep_last: Number of checkpoints that stay; where a disk damages the newest, the run resumes from one before.
        keep_every: Optimiser steps between two snapshots, the teacher's backbone alone, which stay for good: `eva
            export` and `eva board` take them; 0: none.
        snapshot_dtype: Numbers of a snapshot; `bfloat16` takes half the room.
        max_hours: Hours after which the run writes a checkpoint and ends with exit code 75; the same command goes on.
        log_every: Optimiser steps between two lines of the log.
        timeout_minutes: Minutes that a device waits for the others before the run ends, as one may have died.
    """

    devices: int | Literal["auto"] = "auto"
    nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    shard_over: int | None = None
    precision: Literal["auto", "bf16-mixed", "16-mixed", "32-true"] = "auto"
    accumulate: int = 1
    checkpoint_every: int = 1000
    keep_last: int = 2
    keep_every: int = 0
    snapshot_dtype: Literal["float32", "bfloat16"] = "float32"
    max_hours: float | None = None
    log_every: int = 50
    timeout_minutes: float = 30.0

    def __post_init__(self) -> None:
        for name in ("devices", "nodes", "accumulate", "checkpoint_every", "keep_last", "log_every"):
            value = getattr(self, name)
            refuse((value != "auto" and value < 1, f"training.{name} to be at least 1", value))
        refuse(
            (
                self.shard_over is not None and (self.shard_over < 1 or self.strategy != "fsdp"),
                "training.shard_over of at least 1, with training.strategy fsdp",
                self.shard_over,
            ),
            (self.nodes > MOST_NODES, f"training.nodes to be at most {MOST_NODES:,}", self.nodes),
            (self.keep_every < 0, "training.keep_every to be at least 0", self.keep_every),
            (
                not 0 < self.timeout_minutes <= LONGEST,
                f"training.timeout_minutes above 0 and at most {LONGEST:,} (a year)",
                self.timeout_minutes,
            ),
            (self.max_hours is not None and self.max_hours <= 0, "training.max_hours above 0", self.max_hours),
        )


def make_trainer(
    training: Training,
    environment: ClusterEnvironment,
    steps: int,
    output: Path,
    logger: Logger,
    callbacks: list[Callback],
    best_every: int,
    stopping: Stopping | None = None,
) -> Trainer:
    """Build Lightning's trainer.

    Args:
        training: The settings.
        environment: Place of this process among those of the run.
        steps: Optimiser steps.
        output: Folder of the run, below which checkpoints go.
        logger: Receives the numbers.
        callbacks: Run in this order, before checkpoints are written.
        best_every: Optimiser steps between two scores of the online kNN, whose best checkpoint is kept; 0: none.
        stopping: Decides whether the run stops before its end; None: it does not, and writes no checkpoint at its end.

    Raises:
        UsageError: The precision needs a GPU, and there is none.
    """
    _silence_lightning()
    on_gpu = gpus() > 0
    if training.precision == "16-mixed" and not on_gpu:  # Lightning would train in bf16 under that name
        raise UsageError("Expected a GPU for --training.precision 16-mixed, but there is none. Use bf16-mixed or auto.")
    devices = devices_of(training.devices, training.nodes)
    folder, every = output / CHECKPOINTS, training.checkpoint_every
    keeper = partial(_Keeper, training.keep_last, folder, auto_insert_metric_name=False, enable_version_counter=False)
    # of these, `prune` deletes
    keepers: list[Callback] = [keeper("step-{step}", every_n_train_steps=every, save_top_k=-1, stopping=stopping)]
    if best_every:  # first, so that the checkpoint from which a run resumes knows of it
        keepers.insert(0, keeper("best-{step}", monitor=BEST, mode="max", every_n_train_steps=best_every))
    if training.keep_every:
        keepers.insert(0, _SnapshotKeeper(output / SNAPSHOTS, training.keep_every, training.keep_last))
    trainer = Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        num_nodes=training.nodes,
        strategy=_strategy(training, devices * training.nodes),
        precision=training.precision if training.precision != "auto" else "bf16-mixed" if on_gpu else "32-true",
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=training.accumulate,
        default_root_dir=output,
        plugins=[environment, ChecksummedCheckpoints(training.accumulate, training.snapshot_dtype)],
        logger=logger,
        callbacks=[*callbacks, *keepers],
        log_every_n_steps=training.log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    _leave_signals_to_us(trainer)
    return trainer


def _leave_signals_to_us(trainer: Any) -> None:
    """Keep Lightning from handling SIGTERM: it sends from a handler, and waits for the device at each batch."""
    trainer._signal_connector.register_signal_handlers = _nothing  # noqa: SLF001
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # noqa: SLF001


def _nothing() -> None:
    pass


def _silence_lightning() -> None:
    """Turn off notes and warnings of Lightning that do not help the user."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # eva says what is useful of it
    for message in (
        ".*isinstance.treespec, LeafSpec",
        ".*exists and is not empty",
        "The number of training batches",
        "FSDP2-wrapped module .* returned a view",  # nothing is changed in place
        "The `srun` command is available",  # `environment` knows whether it is used
    ):
        warnings.filterwarnings("ignore", message)


class _Keeper(ModelCheckpoint):
    """Lightning's callback, mended for runs that resume: its own forgets its last step, and keeps one file or all.

    Its name is part of every checkpoint.
    """

    def __init__(self, kept: int, *args: Any, stopping: Stopping | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kept, self._stopping = kept, stopping

    @property
    @override
    def state_key(self) -> str:
        """Key of its state, without the interval: with another one, the best checkpoint so far is still the best."""
        return f"{type(self).__name__}({self.monitor})"

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore its state, with the paths of a run that was moved in their new folder."""
        moved = {k: self._moved(v) for k, v in state_dict.items() if k.endswith("_path")}
        best = {self._moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})

    def _moved(self, path: str) -> str:
        return f"{self.dirpath}/{Path(path).name}" if path else path

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._last_global_step_saved = trainer.global_step  # else it saves again amid the batches of the next step
        self._step = trainer.global_step

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        whole_step, self._step = trainer.global_step != self._step, trainer.global_step
        if not whole_step or self._stopping is None:
            return
        exit_code = self._stopping.exit_code()
        step = trainer.global_step
        if (exit_code or step == trainer.max_steps) and self._last_global_step_saved != step:
            self._save_checkpoint(trainer, f"{self.dirpath}/step-{step}.ckpt")
        if exit_code:
            raise Stopped(_going_on(trainer), exit_code if trainer.is_global_zero or not _started_by_rank_0() else 0)

    @override
    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        _after_save(trainer, self._kept)


class _SnapshotKeeper(Callback):
    """Callback that writes snapshots, which nothing deletes."""

    def __init__(self, folder: Path, every: int, kept: int) -> None:
        self._folder, self._every, self._kept, self._step = folder, every, kept, 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step

    @override
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        whole_step, self._step = trainer.global_step != self._step, trainer.global_step
        if whole_step and self._step % self._every == 0:
            trainer.save_checkpoint(self._folder / f"step-{self._step}.ckpt")
            _after_save(trainer, self._kept)


def _after_save(trainer: Trainer, kept: int) -> None:
    """Stop all ranks where the first could not write a checkpoint, else delete all but the last `kept`.

    Raises:
        EvaError: The error that the first rank met.
    """
    files = trainer.strategy.checkpoint_io
    assert isinstance(files, ChecksummedCheckpoints)
    failed = trainer.strategy.broadcast(files.failed)
    if failed is not None:
        raise EvaError(failed)
    if trainer.is_global_zero:
        prune(Path(trainer.default_root_dir), trainer.global_step, kept)


def _started_by_rank_0() -> bool:
    """Whether Lightning started this process from the first rank, which it would kill if this one ended with a code."""
    return ThisMachine().creates_processes_externally


def _going_on(trainer: Trainer) -> str:
    """Sentence that names the checkpoint from which the run goes on; the first rank says it."""
    if not trainer.is_global_zero:
        return ""
    step, output = trainer.global_step, Path(trainer.default_root_dir)
    return (
        f"The same command goes on after step {step} of {trainer.max_steps}, from "
        f"{output / CHECKPOINTS / f'step-{step}.ckpt'}; `eva export {output}` makes a model of it."
    )


def run(trainer: Trainer, method: Method, patches: Patches, last: Path | None) -> None:
    """Train to the last step.

    Args:
        trainer: From `make_trainer`.
        method: The method to train.
        patches: The patches to train on.
        last: Checkpoint to resume from; None: start anew.

    Raises:
        Stopped: A signal, or the end of a time limit, on any rank; a checkpoint was written.
        KeyboardInterrupt: A signal outside of the steps.
        EvaError: A worker or another rank died, a checkpoint could not be written, or no patch could be read.
    """
    until = "after this step, once a checkpoint is written" if trainer.is_global_zero else ""
    try:
        with interrupts.deferred(until):
            trainer.fit(method, datamodule=patches, ckpt_path=last)
    except SystemExit as error:  # Lightning's way to say that it was interrupted
        if isinstance(error.__context__, Stopped):
            raise error.__context__ from None
        raise KeyboardInterrupt from error
    except RuntimeError as error:  # torch's way to say that a worker, or another rank, died, at any time
        if trainer.world_size > 1 and _of_communication(error):
            raise EvaError(
                f"Expected all {trainer.world_size} devices of the run to answer, but one has ended, or was silent for "
                "longer than training.timeout_minutes. What it said itself tells why. "
                f"{resume_note(Path(trainer.default_root_dir))}"
            ) from error
        if "DataLoader worker" not in str(error):
            raise
        if interrupts.stopped_by() is not None:  # the worker received it too
            raise KeyboardInterrupt from error
        raise EvaError(f"{' '.join(str(error).split())} If memory was short, lower data.workers.") from error
    if trainer.interrupted:
        raise KeyboardInterrupt


def _of_communication(error: RuntimeError) -> bool:
    """Whether torch could not reach another rank: NCCL has classes for that, gloo has a text."""
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in ("gloo", "NCCL"))


def _strategy(training: Training, processes: int) -> str | Strategy:
    if processes == 1:
        return "auto"
    timeout = timedelta(minutes=training.timeout_minutes)
    if training.strategy == "fsdp":
        shards = training.shard_over or processes
        if processes % shards:
            raise UsageError(
                f"Expected training.shard_over to divide the {processes} devices, but got {shards}. Give a divisor."
            )
        # Lightning's two dimensions: copies, and the devices of each; a single copy takes the first alone
        copies, within = (processes, 1) if shards == processes else (processes // shards, shards)
        return ModelParallelStrategy(copies, within, save_distributed_checkpoint=False, timeout=timeout)
    return DDPStrategy(gradient_as_bucket_view=True, timeout=timeout)
