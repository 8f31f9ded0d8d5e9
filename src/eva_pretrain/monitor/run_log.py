"""Log of a run: all numbers of a step at that step, each once, in a file, in the loggers, and on its page."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from PIL import Image
from typing_extensions import override

from eva_core.files.atomic_files import FULL
from eva_core.progress import log, say
from eva_pretrain.monitor.lines import LOG, PICTURE, append_line

_PAUSE = 100
"""Pause of a logger that failed, in times of what the failure took: a server that is away holds up no run."""


class Numbered(Protocol):
    """What has numbers of a step.

    Attributes:
        numbers: The last step that it took numbers of, and these by name.
    """

    numbers: tuple[int, dict[str, float]]


class LogCallback(Callback):
    """Callback that logs once a step what others have found; the last of those that run before checkpoints are written.

    A logger or a page that fails costs the run nothing: it is said once, training goes on, and the logger is tried
    again after a pause. A full disk stops it.
    """

    def __init__(
        self, output: Path, training: Numbered, monitor: Numbered, page: Callable[[], None], already: int = -1
    ) -> None:
        """Set up the callback.

        Args:
            output: Folder of the run.
            training: Has losses, schedules and speed.
            monitor: Has what the monitor measured.
            page: Makes the page of the run anew, as often as it finds right.
            already: Last step that the loggers have of an earlier attempt, beyond the checkpoint: they get later ones.
        """
        self.output, self.training, self.monitor, self.page, self.already = output, training, monitor, page, already
        self._logged, self._again = -1, dict[Logger, float]()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._logged = trainer.global_step - (trainer.global_step == 0)  # the monitor looks at the start, too
        self._log(trainer)
        if trainer.is_global_zero:
            log("Reading the first batch ...")

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._log(trainer)

    def _log(self, trainer: Trainer) -> None:
        step = trainer.global_step
        training, monitor = (
            part.numbers[1] if part.numbers[0] == step else {} for part in (self.training, self.monitor)
        )
        if step <= self._logged or not trainer.is_global_zero or not (training or monitor):
            return
        self._logged = step
        if training:
            append_line(self.output / LOG, {"step": step, **training})
        picture = self.output / PICTURE.format(step) if monitor else None
        for logger in trainer.loggers if step > self.already else ():
            self._give(logger, {**training, **monitor}, step, picture)
        self.page()

    def _give(self, logger: Logger, numbers: dict[str, float], step: int, picture: Path | None) -> None:
        began = time.monotonic()
        if began < self._again.get(logger, began):
            return
        try:
            logger.log_metrics(numbers, step)
            if picture is not None and isinstance(logger, TensorBoardLogger):
                pixels = np.asarray(Image.open(picture))
                logger.experiment.add_image("monitor/pca", pixels, step, dataformats="HWC")
            elif picture is not None and hasattr(logger, "log_image"):
                logger.log_image("monitor/pca", [str(picture)], step=step)
            logger.save()
        except Exception as error:  # a server of somebody else's may fail in any way
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            if logger not in self._again:
                reason = " ".join(str(error).split()) or "no message"
                say(
                    f"{type(logger).__name__} failed at step {step} ({type(error).__name__}: {reason}). Training goes "
                    f"on; all numbers are in {self.output / LOG}."
                )
            now = time.monotonic()
            self._again[logger] = now + _PAUSE * (now - began)
