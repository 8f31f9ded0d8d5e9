"""Monitor that tells learning from collapse at intervals: measures of embeddings, nearest neighbours, a picture."""

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resize
from typing_extensions import override

from eva_core.errors import UsageError
from eva_core.files.atomic_files import write_bytes
from eva_core.progress import log, stage
from eva_pretrain.augment.contact_sheet import contact_sheet
from eva_pretrain.augment.views import make_crops
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.distributed import gather, world
from eva_pretrain.losses.targets import probabilities_of
from eva_pretrain.methods.base import Method
from eva_pretrain.monitor.lines import CROPS, MEASURES, PICTURE, append_line, drop_lines
from eva_pretrain.monitor.measures import entropy, feature_std, off_diagonal_correlation, rankme
from eva_pretrain.monitor.online_dense import OnlineDense
from eva_pretrain.monitor.online_knn import OnlineKnn
from eva_pretrain.monitor.pca_picture import pca_picture

BEST = "monitor/knn"
_SHOWN = 8


@dataclass(frozen=True)
class Monitor:
    """Settings of the monitor.

    Attributes:
        every: Optimiser steps between two measurements; 0: never.
        patches: Number of fixed patches whose embeddings are measured; none: ten times the width of the network, below
            which RankMe and the correlation depend on the number.
        holdout: Share of the training samples of `--dataset`, by group, on which the online kNN is scored where the
            dataset has no validation split of its own.
    """

    every: int = 1000
    patches: int | None = None
    holdout: float | None = None

    def __post_init__(self) -> None:
        if self.holdout is not None and not 0 < self.holdout < 1:
            raise UsageError(f"Expected monitor.holdout above 0 and below 1, but got {self.holdout}. Change it.")
        if self.every < 0 or (self.patches is not None and self.patches < 2):
            raise UsageError(
                f"Expected monitor.every of at least 0 and monitor.patches of at least 2, but got {self.every} and "
                f"{self.patches}. Change them."
            )


class MonitorCallback(Callback):
    """Callback that measures the teacher. Each device embeds its share of the patches; the first writes.

    Attributes:
        seconds: Time that all measurements took, in seconds.
        numbers: Numbers of the last measurement by name, and its step.
    """

    def __init__(self, monitor: Monitor, knn: OnlineKnn | None, output: Path, dense: OnlineDense | None = None) -> None:
        """Set up the callback; patches are read when training starts.

        Args:
            monitor: The settings.
            knn: Nearest neighbours on a dataset; None: not scored.
            output: Folder for pictures and measures.
            dense: Score of patch tokens on a dataset; None: not scored.
        """
        self.monitor, self.knn, self.dense, self.output = monitor, knn, dense, output
        self._pixels = torch.empty(0)
        self.seconds, self._measured = 0.0, -1
        self.numbers: tuple[int, dict[str, float]] = (-1, {})

    @override
    def on_train_start(self, trainer: Trainer, method: Method) -> None:  # type: ignore[override]
        patches: Patches = trainer.datamodule  # type: ignore[attr-defined]
        count = self.monitor.patches or 10 * method.student.vit.dim
        share = -(-count // world()) if self.monitor.every else _SHOWN
        with stage("Reading patches for the monitor", trainer.is_global_zero):
            loader = patches.monitored_patches(min(share, 64))
            batches = iter(loader)
            first, left = next(batches).pixels, -(-share // min(share, 64)) - 1
            if trainer.is_global_zero:
                self._sheet(method, first[:_SHOWN])
            size = [method.setup_.architecture.size] * 2  # as evaluation sees them
            rest = (next(batches).pixels for _ in range(left))
            self._pixels = torch.cat([resize(pixels, size) for pixels in (first, *rest)])[:share]
            loader.close()
        self._measured = trainer.global_step  # a run that resumes has measured this step already
        if self.monitor.every and trainer.global_step == 0:
            self._measure(trainer, method)

    @override
    def on_train_batch_end(self, trainer: Trainer, method: Method, *_: Any) -> None:  # type: ignore[override]
        step, every = trainer.global_step, self.monitor.every
        if every and step != self._measured and (step % every == 0 or step == trainer.max_steps) and step:
            measures = self._measure(trainer, method)
            if self.knn is not None:  # all devices decide alike whether this checkpoint is the best
                method.log(BEST, trainer.strategy.broadcast(measures[BEST]), logger=False)

    @torch.no_grad()
    def _measure(self, trainer: Trainer, method: Method) -> dict[str, float]:
        began = time.perf_counter()
        self._measured = step = trainer.global_step
        state = torch.random.get_rng_state()
        own = torch.cat([self._embed(method, batch) for batch in torch.split(self._pixels, 64)])
        embeddings = gather(own).double().cpu()
        absolute, squared = off_diagonal_correlation(embeddings)
        measures = {
            "monitor/rankme": rankme(embeddings),
            "monitor/correlation": absolute,
            "monitor/log_squared_correlation": squared,
            "monitor/feature_std": feature_std(embeddings),
        }
        if method.teacher_probabilities is not None:
            measures["monitor/teacher_entropy"] = entropy(probabilities_of(method.teacher_probabilities))
        if self.knn is not None:
            measures[BEST] = self.knn(lambda images: self._embed(method, images))
        if self.dense is not None:
            measures["monitor/dense"] = self.dense(lambda images: self._tokens(method, images)[1])
        picture = self._picture(method)
        torch.random.set_rng_state(state)
        if trainer.is_global_zero:
            self._write(step, measures, picture)
        self.seconds += time.perf_counter() - began
        return measures

    def _write(self, step: int, measures: dict[str, float], picture: Any) -> None:
        self.numbers = (step, measures)
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        write_bytes(self.output / PICTURE.format(step), content.getvalue())  # whole, as its line comes next
        file = self.output / MEASURES
        drop_lines(file, step.__eq__)  # of an attempt whose best checkpoint stayed, later than its last
        append_line(file, {"step": step, **measures})
        log(f"step {step:>6}: " + ", ".join(f"{k.removeprefix('monitor/')} {v:.3g}" for k, v in measures.items()))

    def _tokens(self, method: Method, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Class tokens (N, D) and patch tokens (N, h * w, D) of the teacher, float32."""
        views = method.setup_.views
        mean, std = (torch.tensor(v, device=method.device).view(3, 1, 1) for v in (views.mean, views.std))
        images = pixels.to(method.device).float().div_(255).sub_(mean).div_(std)
        # as they are: each size of batch would be compiled, and torch makes no more than 8 graphs of a block
        with method.trainer.precision_plugin.forward_context(), torch.compiler.set_stance("force_eager"):
            cls, patches = method.teacher.vit(images)
        return cls.float(), patches.float()

    def _embed(self, method: Method, pixels: Tensor) -> Tensor:
        return self._tokens(method, pixels)[0]

    def _picture(self, method: Method) -> Any:
        shown = self._pixels[:_SHOWN]
        patches = self._tokens(method, shown)[1]
        rows, columns = method.teacher.vit.grid(method.setup_.architecture.size)
        return pca_picture(shown, torch.unflatten(patches.transpose(1, 2), 2, (rows, columns)).cpu())

    def _sheet(self, method: Method, pixels: Tensor) -> None:
        """Write a contact sheet of the crops of some patches."""
        state = torch.random.get_rng_state()
        torch.manual_seed(0)
        views = method.setup_.views
        contact_sheet(pixels, make_crops(pixels, views, None), views, self.output / CROPS)
        torch.random.set_rng_state(state)
