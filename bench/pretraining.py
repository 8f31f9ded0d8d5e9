"""A step of `eva pretrain` against the passes of the same networks alone, on ready tensors, in turns.

On a CPU: ViT-S/16, batch 8, 2 x 224 + 8 x 96 px, DINOv2 with 65,536 prototypes, patches from files and from a slide;
by the clock, and by the CPU seconds of this process, because a CPU is often shared. For a GPU see `gpu.py`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image

from eva_pretrain.data.datamodule import Patches
from eva_pretrain.data.loader import Batch, PatchLoader
from eva_pretrain.methods.base import Method
from eva_pretrain.monitor.collapse import MonitorCallback
from eva_pretrain.monitor.throughput import ThroughputCallback
from eva_pretrain.network.vit import Tokens
from eva_pretrain.run.config import parse
from eva_pretrain.run.launchers import environment_of
from eva_pretrain.run.trainer import make_trainer
from eva_vision.synthetic.patches import CLASSES, phantom_patch, random_stain
from eva_vision.synthetic.slides import write_phantom_slide

SETTINGS = [
    *("--config", "dinov2_vits14", "--vit.start", "null", "--monitor.every", "0", "--method.spread", "koleo"),
    *(
        "--training.devices",
        "1",
        "--training.checkpoint_every",
        "1000000",
        "--sampling.size",
        "256",
        "--sampling.mpp",
        "[0.5, 1.0]",
    ),
]
SMALL = ["--method.prototypes", "65536", "--method.bottleneck", "256", "--views.local_size", "96"]
CPU = [*SMALL, "--vit.arch", "vit_small_patch16_224", "--batch_size", "8", "--data.workers", "2"]

CPU_DEVICE = torch.device("cpu")


class RepeatedBatch(PatchLoader):
    """Loader that repeats its first batch on the device, under new numbers."""

    device = torch.device("cpu")
    _batch: Batch | None = None

    def _get(self) -> Batch:
        if self._batch is None:
            batch = super()._get()
            self._batch = batch._replace(pixels=batch.pixels.to(self.device))
            self.close()
        else:
            self._batch = self._batch._replace(number=self._batch.number + 1)
            self._account(self._batch)
        return self._batch


class RepeatedPatches(Patches):
    """Data module of one repeated batch, so that no step waits for data."""

    def train_dataloader(self) -> PatchLoader:
        loader = super().train_dataloader()
        self.loader = RepeatedBatch(loader.stream, workers=0, epoch=loader.epoch)
        self.loader.device = self.trainer.strategy.root_device
        return self.loader


class Turns(Callback):
    """Callback that runs the passes alone after each step: same shapes, but ready tensors and a sum as the loss."""

    def __init__(self, first: int) -> None:
        """Leave out the steps before number `first`."""
        self.first = first
        self.ours: list[np.ndarray] = []
        self.passes_alone: list[np.ndarray] = []

    def on_train_start(self, trainer: Any, method: Method) -> None:  # type: ignore[override]
        views, batch, device = method.setup_.views, method.setup_.batch_size, method.device
        self.global_ = torch.randn(2 * batch, 3, views.global_size, views.global_size, device=device)
        self.local = torch.randn(views.local_crops * batch, 3, views.local_size, views.local_size, device=device)
        rows, columns = method.student.vit.grid(views.global_size)
        self.masked = torch.arange(rows * columns, device=device) < round(method.masked_share * rows * columns)
        self.masked = self.masked.expand(2 * batch, -1)
        self.rows = self.masked.flatten().nonzero().flatten()
        self._since = _now()

    def on_train_batch_end(self, trainer: Any, method: Method, outputs: Any, batch: Any, index: int) -> None:  # type: ignore[override]
        ended = _now()
        method.zero_grad()
        began = _now()
        self.passes(trainer, method)
        passed = _now()
        method.zero_grad()
        if index >= self.first:
            self.ours.append(ended - self._since)
            self.passes_alone.append(passed - began)
        self._since = _now()

    def passes(self, trainer: Any, method: Method) -> None:
        """Run the teacher forward, and the student forward and backward."""
        with trainer.precision_plugin.forward_context():
            with torch.no_grad():
                self._logits(method.teacher.heads, method.teacher.vit(self.global_))
            tokens = method.student.vit(self.global_, self.masked)
            cls = torch.cat([tokens.cls, method.student.vit(self.local).cls])
            logits = self._logits(method.student.heads, tokens._replace(cls=cls))
        torch.stack([part.sum() for part in logits]).sum().backward()

    def _logits(self, heads: Any, tokens: Tokens) -> list[torch.Tensor]:
        patches = tokens.patches.flatten(0, 1)[self.rows]
        if "ibot" in heads:
            return [heads["dino"](tokens.cls), heads["ibot"](patches)]
        return [heads["dino"](torch.cat([tokens.cls, patches]))]


def _now() -> np.ndarray:
    """Read the clock and the CPU time, in seconds."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def train(
    argv: list[str],
    steps: int,
    output: Path,
    timing: list[Callback],
    patches_of: type[Patches],
    built_on: torch.device = CPU_DEVICE,
) -> Trainer:
    """Train as `eva pretrain` does; the metrics of the trainer are those of the second half of the steps."""
    plan = parse([*SETTINGS, *argv, "--steps", str(steps), "--output", str(output)])
    patches = patches_of(plan.data, plan.sampling, plan.setup.seed, plan.training.accumulate, output)
    monitoring = MonitorCallback(plan.monitor, None, output)
    callbacks = [ThroughputCallback(steps // 2, monitoring), monitoring, *timing]
    trainer = make_trainer(plan.training, environment_of(1, 1), steps, output, [], callbacks, 0)
    with built_on:  # a CPU takes long to draw the weights of a large network
        method = plan.method(plan.setup, **plan.method_arguments)
    trainer.fit(method, datamodule=patches)
    return trainer


def on_cpu(folder: Path, steps: int) -> dict[str, Any]:
    """Compute the median of step / passes, and the share of a step that waited for data."""
    sources = {"folder": ["--folder", str(folder / "patches")], "slide": ["--slides", str(folder / "*.svs")]}
    runs = [("one head", "slide", "false"), ("two heads", "folder", "true")]
    results: dict[str, Any] = {"threads": torch.get_num_threads()}
    for heads, source, ibot in runs:
        timing = Turns(first=1)
        argv = [*CPU, "--method.ibot_head", ibot, *sources[source]]
        trainer = train(argv, 1 + steps, folder / f"{heads}, {source}", [timing], Patches)
        ratios = np.divide(timing.ours, timing.passes_alone)
        ratio, cpu_ratio = np.median(ratios, axis=0).round(3).tolist()
        results[f"{heads}, {source}"] = {
            "ratio": ratio,
            "cpu_ratio": cpu_ratio,
            "turns": ratios[:, 0].round(3).tolist(),
            "step_s": round(float(np.median(timing.ours, axis=0)[0]), 3),
            "passes_s": round(float(np.median(timing.passes_alone, axis=0)[0]), 3),
            "waiting": round(trainer.datamodule.loader.waited_share, 4),
        }
    return results


def make_data(folder: Path) -> None:
    """Write patches as JPEG files, and a slide of phantom tissue."""
    (folder / "patches").mkdir()
    write_phantom_slide(folder / "slide.svs", 4096, 4096)
    rng = np.random.default_rng(0)
    for number in range(64):
        image = Image.fromarray(phantom_patch(number % len(CLASSES), rng, random_stain(rng), 256))
        image.save(folder / "patches" / f"{number}.jpg", quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4, help="number of steps of each run that are timed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        results = on_cpu(Path(folder), given.steps)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
