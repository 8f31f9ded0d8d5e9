"""A step of `eva pretrain` against the bare forward and backward passes of the same networks on ready tensors, in turns.

On a CPU: ViT-S/16, batch 8, 2 x 224 + 8 x 96 px, DINOv2 with 65,536 prototypes, patches from files and from a slide.
With --gpu: patches per second, share of the peak in bf16 and memory of S/16, B/16 and L/14, see `gpu`.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from PIL import Image

from eva_core.errors import EvaError
from eva_pretrain.config import Plan, parse
from eva_pretrain.method import Method
from eva_pretrain.monitor.progress import Progress
from eva_pretrain.monitor.watch import Watch
from eva_pretrain.source import Patches
from eva_pretrain.training import make_trainer, run
from eva_vision.phantom import phantom_patch
from eva_vision.phantom_slides import write_phantom_slide

STEP = {"training.checkpoint_every": 10**6, "monitor.every": 0, "vit.start": "null", "recipe.heads_alone": 0}


class Bare(Callback):
    """After each step, the passes alone: same networks and shapes; the tensors are ready, and the loss is a sum."""

    def __init__(self, first: int, every: bool = True) -> None:
        """Look away from the first steps."""
        self.first, self.every = first, every
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.waited: list[float] = []
        self._since = 0.0

    def on_train_start(self, trainer: Any, method: Method) -> None:  # type: ignore[override]
        setup, device = method.setup_, method.device
        views, batch = setup.views, setup.batch_size
        self.crops = (
            torch.randn(2 * batch, 3, views.global_size, views.global_size, device=device),
            torch.randn(views.local_crops * batch, 3, views.local_size, views.local_size, device=device),
        )
        rows, columns = method.student.vit.grid(views.global_size)
        patches = 2 * batch * rows * columns
        self.hidden = torch.zeros(patches, dtype=torch.bool, device=device)
        self.hidden[: round(method.hidden * patches)] = True
        self.rows = self.hidden.nonzero().flatten()

    def on_train_batch_end(self, trainer: Any, method: Method, outputs: Any, batch: Any, index: int) -> None:  # type: ignore[override]
        self._wait(method)
        waited = trainer.datamodule.loader.waited_s
        if index >= self.first:
            self.ours.append(time.perf_counter() - self._since)
            self.waited.append(waited - self._waited)
        if self.every:
            gradients = [parameter.grad for parameter in method.student.parameters()]
            for parameter in method.student.parameters():
                parameter.grad = None
            began = time.perf_counter()
            self.passes(trainer, method)
            self._wait(method)
            if index >= self.first:
                self.bare.append(time.perf_counter() - began)
            for parameter, gradient in zip(method.student.parameters(), gradients, strict=True):
                parameter.grad = gradient
        self._since, self._waited = time.perf_counter(), waited

    def passes(self, trainer: Any, method: Method) -> None:
        """Teacher forward, student forward and backward."""
        (global_, local), masked = self.crops, self.hidden.view(2 * method.setup_.batch_size, -1)
        with trainer.precision_plugin.forward_context():
            with torch.no_grad():
                self._logits(method.teacher.heads, method.teacher.vit(global_))
            seen = method.student.vit(global_, masked if len(self.rows) else None)
            cls = torch.cat([seen.cls, method.student.vit(local).cls])
            logits = self._logits(method.student.heads, seen._replace(cls=cls))
        torch.stack([part.sum() for part in logits]).sum().backward()

    def _logits(self, heads: Any, seen: Any) -> list[torch.Tensor]:
        if not len(self.rows):
            return [heads["dino"](seen.cls)]
        patches = seen.patches.flatten(0, 1)[self.rows]
        if "ibot" in heads:
            return [heads["dino"](seen.cls), heads["ibot"](patches)]
        return [heads["dino"](torch.cat([seen.cls, patches]))]

    @staticmethod
    def _wait(method: Method) -> None:
        if method.device.type == "cuda":
            torch.cuda.synchronize()
