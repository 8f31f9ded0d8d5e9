"""A step of `eva pretrain` against the bare forward and backward passes of the same networks on ready tensors, in turns.

On a CPU: ViT-S/16, batch 8, 2 x 224 + 8 x 96 px, DINOv2 with 65,536 prototypes, patches from files and from a slide.
With --gpu: patches per second, share of the peak in bf16 and memory of S/16, B/16 and L/14, see `gpu`.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image

from eva_pretrain.config import parse
from eva_pretrain.method import Method
from eva_pretrain.monitor.progress import Progress
from eva_pretrain.monitor.watch import Watch
from eva_pretrain.source import Patches
from eva_pretrain.training import make_trainer
from eva_pretrain.vit import Tokens
from eva_vision.phantom import CLASSES, phantom_patch, random_stain
from eva_vision.phantom_slides import write_phantom_slide

BATCH = 8
SETTINGS = [
    *("--config", "dinov2_vits14", "--vit.start", "null", "--monitor.every", "0", "--training.strategy", "auto"),
    *("--training.checkpoint_every", "1000000", "--sampling.size", "256", "--sampling.mpp", "[0.5, 1.0]"),
]
CPU = [
    *("--vit.arch", "vit_small_patch16_224", "--views.local_size", "96", "--batch_size", str(BATCH)),
    *("--method.prototypes", "65536", "--method.bottleneck", "256", "--method.spread", "koleo"),
    *("--data.workers", "2"),
]


class Turns(Callback):
    """After each step the passes alone: the same networks and shapes, but the tensors are ready and the loss is a sum."""

    def __init__(self, first: int, bare: bool = True) -> None:
        """Look away from the first steps."""
        self.first, self.with_bare = first, bare
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.waited: list[float] = []

    def on_train_start(self, trainer: Any, method: Method) -> None:  # type: ignore[override]
        views, batch, device = method.setup_.views, method.setup_.batch_size, method.device
        self.global_ = torch.randn(2 * batch, 3, views.global_size, views.global_size, device=device)
        self.local = torch.randn(views.local_crops * batch, 3, views.local_size, views.local_size, device=device)
        rows, columns = method.student.vit.grid(views.global_size)
        self.masked = torch.arange(rows * columns, device=device) < round(method.hidden * rows * columns)
        self.masked = self.masked.expand(2 * batch, -1)
        self.rows = self.masked.flatten().nonzero().flatten()
        self._since, self._waited = time.perf_counter(), 0.0

    def on_train_batch_end(self, trainer: Any, method: Method, outputs: Any, batch: Any, index: int) -> None:  # type: ignore[override]
        _wait()
        now, waited = time.perf_counter(), trainer.datamodule.loader.waited_s
        if index >= self.first:
            self.ours.append(now - self._since)
            self.waited.append(waited - self._waited)
        if self.with_bare:
            method.zero_grad()
            began = time.perf_counter()
            self.passes(trainer, method)
            _wait()
            if index >= self.first:
                self.bare.append(time.perf_counter() - began)
            method.zero_grad()
        self._since, self._waited = time.perf_counter(), waited

    def passes(self, trainer: Any, method: Method) -> None:
        """Teacher forward, student forward and backward."""
        with trainer.precision_plugin.forward_context():
            with torch.no_grad():
                self._logits(method.teacher.heads, method.teacher.vit(self.global_))
            seen = method.student.vit(self.global_, self.masked)
            cls = torch.cat([seen.cls, method.student.vit(self.local).cls])
            logits = self._logits(method.student.heads, seen._replace(cls=cls))
        torch.stack([part.sum() for part in logits]).sum().backward()

    def _logits(self, heads: Any, seen: Tokens) -> list[torch.Tensor]:
        patches = seen.patches.flatten(0, 1)[self.rows]
        if "ibot" in heads:
            return [heads["dino"](seen.cls), heads["ibot"](patches)]
        return [heads["dino"](torch.cat([seen.cls, patches]))]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def turns(argv: list[str], steps: int, first: int, output: Path, bare: bool = True) -> tuple[Turns, Trainer, Method]:
    """A run as `eva pretrain` makes it, with the passes alone after each step."""
    plan = parse([*SETTINGS, *argv, "--steps", str(first + steps), "--output", str(output)])
    patches = Patches(plan.data, plan.sampling, plan.setup.seed, plan.training.accumulate, output)
    method = plan.method(plan.setup, **plan.method_arguments)
    timing = Turns(first, bare)
    callbacks = [Progress(plan.training.log_every), Watch(plan.monitor, None, output), timing]
    trainer = make_trainer(plan.training, plan.setup.recipe.steps, output, [], callbacks, 0)
    trainer.fit(method, datamodule=patches)
    return timing, trainer, method


def on_cpu(folder: Path, steps: int) -> dict[str, Any]:
    """Median of step / passes, and the share of a step that waited for data."""
    sources = {"folder": ["--folder", str(folder / "patches")], "slide": ["--slides", str(folder / "*.svs")]}
    runs = [("one head", "folder", "false"), ("one head", "slide", "false"), ("two heads", "folder", "true")]
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    for heads, source, ibot in runs:
        argv = [*CPU, "--method.ibot_head", ibot, *sources[source]]
        timing, _, _ = turns(argv, steps, 2, folder / f"{heads}, {source}")
        ratios = [ours / bare for ours, bare in zip(timing.ours, timing.bare, strict=True)]
        found[f"{heads}, {source}"] = {
            "ratio": round(statistics.median(ratios), 3),
            "turns": [round(ratio, 3) for ratio in ratios],
            "step_s": round(statistics.median(timing.ours), 3),
            "bare_s": round(statistics.median(timing.bare), 3),
            "waiting": round(sum(timing.waited) / sum(timing.ours), 4),
        }
    return found


def make_data(folder: Path) -> None:
    """Patches as JPEG files, and a slide of phantom tissue."""
    (folder / "patches").mkdir()
    write_phantom_slide(folder / "slide.svs", 4096, 4096)
    rng = np.random.default_rng(0)
    for number in range(64):
        image = Image.fromarray(phantom_patch(number % len(CLASSES), rng, random_stain(rng), 256))
        image.save(folder / "patches" / f"{number}.jpg", quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        found = on_cpu(Path(folder), given.steps)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
