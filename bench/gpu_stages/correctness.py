"""Stage (a): results on a GPU equal those on a CPU. Each row says `ok`, and the limit that it was held to."""

import os
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from eva_core.accelerator import is_gpu
from eva_core.config.protocols import load_protocol
from eva_core.contracts.head import Embedded, FittingData, Head
from eva_core.contracts.protocol import Protocol
from eva_core.extraction.embed import extract
from eva_core.extraction.engine import full_precision
from eva_core.extraction.settings import Extraction
from eva_core.store.store import StoreKey
from eva_pretrain.augment.crops import columns
from eva_pretrain.augment.views import Crops, Views, _draw, _Kind, _places, _seen
from eva_pretrain.methods.base import Method, Setup
from eva_pretrain.methods.dino import Dino
from eva_pretrain.methods.dinov2 import DinoV2
from eva_pretrain.methods.masking import masks
from eva_pretrain.network.vit import Architecture
from eva_pretrain.optimisation.recipe import Recipe
from eva_pretrain.run import trainer
from eva_pretrain.run.checkpoints import last_checkpoint, read_checkpoint
from eva_pretrain.run.config import parse
from eva_pretrain.run.pretrain import pretrain
from eva_vision.heads.linear import Linear
from eva_vision.heads.logreg import LogReg
from eva_vision.heads.mlp import Mlp
from eva_vision.heads.neighbours import Knn, SimpleShot
from eva_vision.models.timm import timm_model
from eva_vision.segmentation.contracts import SegmentationHead
from eva_vision.segmentation.decoders.heads import ConvSeg, ConvSegImage, LinearSeg
from eva_vision.segmentation.decoders.losses import dice_loss
from eva_vision.segmentation.decoders.training import new_decoder
from gpu_stages.data import PATCHES, JpegPatches
from gpu_stages.stage import Bench, Figures, Row
from gpu_stages.training import TINY

TITLE = "Correctness: GPU against CPU"
COLUMNS = ("ok", "value", "limit")

TINY_VIT: dict[str, Any] = {"depth": 2, "embed_dim": 24, "num_heads": 3}


def below(value: float, limit: float, **more: Any) -> Figures:
    """Figures of a difference that must not exceed a limit."""
    return {"ok": bool(value <= limit), "value": float(value), "limit": f"<= {limit:g}", **more}


def above(value: float, limit: float, **more: Any) -> Figures:
    """Figures of a similarity that must reach a limit."""
    return {"ok": bool(value >= limit), "value": float(value), "limit": f">= {limit:g}", **more}


def relative_difference(value: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest expected value."""
    value, expected = value.detach().cpu().double(), expected.detach().cpu().double()
    return float((value - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


# Extraction ---------------------------------------------------------------------------------------------------------


def extraction(bench: Bench, precision: str, limit: float) -> Figures:
    """Extract with ViT-S/16 on both devices: least cosine over the images."""
    backbone = timm_model("vit_small_patch16_224", **bench.small(TINY_VIT, {}))
    dataset, protocol = (
        JpegPatches(bench.data, bench.small(4, 64)),
        replace(load_protocol("eva-0.4"), precision=precision),
    )
    embedded = []
    for device, name in ((bench.device, precision), (bench.cpu, "fp32")):
        os.environ["EVA_CACHE"] = str(bench.scratch / f"{device.type} {precision} {name}")
        content = {"dataset_sha256": dataset.fingerprint(), "device": device.type, "precision": name}
        key = StoreKey("correctness", dataset.card.name, content)
        how = Extraction(device=device.type, workers=0)  # type: ignore[arg-type]
        store = extract(key, backbone, dataset, replace(protocol, precision=name), how, tell=lambda line: None)
        embedded.append(torch.from_numpy(store.read(store.rows("train"))).double())
    return above(F.cosine_similarity(*embedded).min(), limit)


def by_depth(bench: Bench, dtype: torch.dtype, limit: float) -> Figures:
    """Class token after each block of ViT-L/16, under autocast and in fp32: least cosine, deepest last."""
    full_precision()
    network = timm_model("vit_large_patch16_224", **bench.small(TINY_VIT, {})).network.to(bench.device).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(bench.small(2, 32), 3, 224, 224, generator=generator).to(bench.device)

    def tokens(half: bool) -> list[Tensor]:
        seen: list[Tensor] = []
        hooks = [b.register_forward_hook(lambda m, i, out: seen.append(out[:, 0].float())) for b in network.blocks]
        with torch.inference_mode(), torch.autocast(bench.device.type, dtype, enabled=half):
            network(images)
        for hook in hooks:
            hook.remove()
        return seen

    cosines = [float(F.cosine_similarity(a, b).min()) for a, b in zip(tokens(True), tokens(False), strict=True)]
    return above(cosines[-1], limit, by_depth=[round(cosine, 5) for cosine in cosines])


# Heads --------------------------------------------------------------------------------------------------------------


def head(bench: Bench, make: Callable[[], Head], limit: float) -> Figures:
    """Fit on both devices, on embeddings of separable classes: share of new samples that get the same class."""
    generator = torch.Generator().manual_seed(0)
    classes, features = 4, 64
    centres = torch.randn(classes, features, generator=generator)

    def drawn(n: int) -> Embedded:
        y = torch.arange(n) % classes
        return Embedded(centres[y] + torch.randn(n, features, generator=generator), y)

    train, select, new = drawn(400), drawn(100), drawn(400)
    protocol = Protocol("bench", steps=bench.small(20, 500), C=(0.01, 1.0, 100.0), lr=(1e-3,))
    predictions = []
    for device in (bench.cpu, bench.device):
        there = [Embedded(part.x.to(device), part.y.to(device)) for part in (train, select)]
        fitted = make().fit(FittingData(*there, classes, range(1)), protocol)
        params = {name: value.to(device) for name, value in fitted[0].params.items()}
        predictions.append(make().logits(params, new.x.to(device)).argmax(1).cpu())
    return above((predictions[0] == predictions[1]).float().mean(), limit)


def decoder(bench: Bench, head: SegmentationHead) -> Figures:
    """Compute a decoder's logits and the gradient of its loss on both devices: largest difference."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 48, 14, 14, generator=generator)
    images, masks_ = (
        torch.randn(2, 3, 56, 56, generator=generator),
        torch.randint(0, 3, (2, 56, 56), generator=generator),
    )
    full_precision()
    outputs = []
    for device in (bench.device, bench.cpu):
        model = new_decoder(head, 48, 3, 0, device)
        logits = model(features.to(device), images.to(device))
        whole = F.interpolate(logits, (56, 56), mode="bilinear")
        dice_loss(whole, masks_.to(device)).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        outputs.append((logits, gradient))
    return below(max(relative_difference(a, b) for a, b in zip(*outputs, strict=True)), 1e-3)


# Pretraining --------------------------------------------------------------------------------------------------------


def architecture(bench: Bench, compiled: bool = False) -> Architecture:
    """Settings of a ViT-S/14 of four blocks, whose local crops have another grid than global ones."""
    arguments = bench.small({**TINY_VIT, "patch_size": 14}, {"depth": 4})
    return Architecture("vit_small_patch14_reg4_dinov2", bench.small(56, 224), arguments, compile=compiled)


def method(bench: Bench, kind: type[Method], compiled: bool = False) -> Method:
    """Build a student and a teacher with small heads and the same weights each time."""
    size = architecture(bench).size
    views = Views(global_size=size, local_size=bench.small(28, 98))
    setup = Setup(architecture(bench, compiled), views, Recipe(), batch_size=4)
    heads: dict[str, Any] = {"prototypes": 512, "hidden": 128, "bottleneck": 64}
    return kind(setup, **heads, **({"spread": "kde"} if kind is DinoV2 else {}))


def stepped(bench: Bench, method: Method, device: torch.device, half: bool = False) -> tuple[dict[str, float], float]:
    """Compute the losses and the norm of the gradient of one step on given crops."""
    generator = torch.Generator().manual_seed(0)
    views = method.setup_.views
    global_, local = (
        torch.randn(n * 4, 3, size, size, generator=generator).to(device)
        for n, size in ((2, views.global_size), (views.local_crops, views.local_size))
    )
    method = method.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        if isinstance(method, DinoV2):
            grid = method.student.vit.grid(views.global_size)
            hidden = masks(len(global_), grid, rng=Random(0))
            terms = method.losses_with(Crops(global_, local), hidden, 0.05)
        else:
            terms = method.losses(Crops(global_, local), 0.05)
    torch.stack([*terms.values()]).sum().backward()
    norm = torch.stack([p.grad.norm() for p in method.student.parameters() if p.grad is not None]).norm()
    return {name: float(term.detach()) for name, term in terms.items()}, float(norm)


Step = tuple[dict[str, float], float]


def step_differences(actual: Step, expected: Step) -> tuple[float, float]:
    """Largest relative difference of a loss, and the difference of the gradient's norm."""
    losses = [abs(actual[0][n] - v) / max(abs(v), 1e-6) for n, v in expected[0].items()]
    return max(losses), abs(actual[1] - expected[1]) / expected[1]


def step(bench: Bench, kind: type[Method]) -> Figures:
    """Compare one step in fp32 on both devices."""
    full_precision()
    whole = method(bench, kind)
    losses, gradient = step_differences(
        stepped(bench, deepcopy(whole), bench.device), stepped(bench, deepcopy(whole), bench.cpu)
    )
    return below(losses, 1e-4, gradient=gradient)


def compiled(bench: Bench, half: bool, limit: float) -> Figures:
    """Compare one step on the device, compiled and not."""
    full_precision()
    eager = stepped(bench, method(bench, DinoV2), bench.device, half)
    losses, gradient = step_differences(stepped(bench, method(bench, DinoV2, compiled=True), bench.device, half), eager)
    return below(losses, limit, gradient=gradient)


def crops(bench: Bench) -> Figures:
    """Compare crops computed from the same random numbers on both devices."""
    views = Views(global_size=64, local_size=32, stain=0.05)
    pixels = torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    kind = _Kind(64, views.global_scale, views.blur[:2], views.solarise[:2])
    places = _places(columns(pixels), kind, views, None, None)
    drawn = _draw(columns(pixels), kind, views, places, None, None)
    seen = [_seen(columns(pixels.to(device)), _moved(drawn, device), views) for device in (bench.device, bench.cpu)]
    return below(relative_difference(*seen), 1e-3)


def _moved(drawn: Any, device: torch.device) -> Any:
    if isinstance(drawn, tuple):
        return type(drawn)(*(_moved(part, device) for part in drawn))
    return drawn if drawn is None else drawn.to(device)


# Runs ---------------------------------------------------------------------------------------------------------------


def run(bench: Bench, name: str, *more: str) -> Path:
    """Pretrain a tiny network on the JPEG patches for 4 steps."""
    output = bench.scratch / name
    settings = [
        *("--training.devices", "1"),
        *("--config", "demo", "--monitor.every", "0", "--training.log_every", "1", "--steps", "4"),
    ]
    folder = ["--folder", str(bench.data / PATCHES), "--data.workers", "0", "--sampling.size", "40"]
    pretrain(parse([*settings, *TINY, *folder, "--training.checkpoint_every", "2", "--output", str(output), *more]))
    return output


class _Killed(Exception):
    """Stand-in for a kill."""


def killed_after(step: int) -> Any:
    """Stop a run in the step after `step`."""
    whole = Method.optimizer_step

    def optimizer_step(self: Method, *args: Any, **kwargs: Any) -> None:
        if self.global_step == step:
            raise _Killed
        whole(self, *args, **kwargs)

    return patch.object(Method, "optimizer_step", optimizer_step)


def state(output: Path) -> dict[str, Tensor]:
    """Read the weights and moments at the end of a run."""
    last = last_checkpoint(output)
    assert last is not None
    checkpoint = read_checkpoint(last)
    weights = {n: v for n, v in checkpoint["state_dict"].items() if isinstance(v, Tensor)}
    moments = checkpoint["optimizer_states"][0]["state"]
    return weights | {f"{n} {part}": v for n, parts in moments.items() for part, v in parts.items()}


def resumed(bench: Bench, precision: str, exact: bool) -> Figures:
    """Compare a run that was stopped after its second step with one that was not: largest difference at the end."""
    name, flags = f"resumed {precision} {exact}", ["--training.precision", precision, "--vit.drop_path", "0.1"]
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(exact)  # raises where an operation has no deterministic algorithm
    try:
        whole = state(run(bench, f"{name} whole", *flags))
        with killed_after(2), suppress(_Killed):
            run(bench, name, *flags)
        again = state(run(bench, name, *flags))
    finally:
        torch.use_deterministic_algorithms(before)
    largest = max(relative_difference(again[n].float(), v.float()) for n, v in whole.items())
    if exact:
        return below(largest, 0)
    return {"ok": None, "value": largest, "limit": "none: kernels that add up in any order"}


def not_finite(bench: Bench) -> Figures:
    """Make the loss of the second step NaN: the step is skipped, and all weights stay finite."""
    losses, count = DinoV2.losses, iter(range(1000))

    def broken(self: DinoV2, crops: Crops, temperature: float) -> dict[str, Tensor]:
        bad = next(count) == 1
        return {n: term * torch.nan if bad else term for n, term in losses(self, crops, temperature).items()}

    seen: list[Method] = []
    whole = Method.on_save_checkpoint

    def on_save_checkpoint(self: Method, checkpoint: dict[str, Any]) -> None:
        seen[:] = [self]
        whole(self, checkpoint)

    with patch.object(DinoV2, "losses", broken), patch.object(Method, "on_save_checkpoint", on_save_checkpoint):
        output = run(bench, "not finite")
    finite = all(v.isfinite().all() for v in state(output).values())
    return {"ok": finite and seen[0].skipped == 1, "value": seen[0].skipped, "limit": "1 step skipped"}


def fsdp(bench: Bench) -> Figures:
    """Compare FSDP2 with one rank and plain training in fp32: largest difference of a weight after four steps."""
    flags = ["--training.precision", "32-true"]
    plain = state(run(bench, "plain", *flags))
    strategy = partial(
        ModelParallelStrategy, data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=False
    )
    with patch.object(trainer, "_strategy", lambda *_: strategy()):
        divided = state(run(bench, "fsdp", *flags))
    weights = [n for n in plain if n.startswith("teacher.vit")]
    return below(max(relative_difference(divided[n], plain[n]) for n in weights), 1e-3)


def half_with_scaler(bench: Bench) -> Figures:
    """Train with `16-mixed`, whose gradients are scaled: four steps end with finite weights."""
    if not is_gpu(bench.device):
        return {"left_out": "needs a GPU"}
    output = run(bench, "scaled", "--training.precision", "16-mixed")
    finite = all(v.isfinite().all() for v in state(output).values())
    return {"ok": finite, "value": None, "limit": "finite weights"}


HEADS: dict[str, tuple[Callable[[], Head], float]] = {
    "linear": (Linear, 0.99),
    "mlp": (Mlp, 0.99),
    "logreg": (LogReg, 0.995),
    "knn": (Knn, 0.995),
    "simpleshot": (partial(SimpleShot, draws=1), 0.995),
}
DECODERS: dict[str, SegmentationHead] = {
    "linear_seg": LinearSeg(),
    "conv_seg": ConvSeg(),
    "conv_seg_image": ConvSegImage(),
}

ROWS: dict[str, Row] = {
    "extraction fp32, ViT-S/16, least cosine with the CPU": partial(extraction, precision="fp32", limit=0.99999),
    "extraction bf16, ViT-S/16, least cosine with the CPU": partial(extraction, precision="bf16", limit=0.99),
    "extraction fp16, ViT-S/16, least cosine with the CPU": partial(extraction, precision="fp16", limit=0.999),
    "bf16 by depth, ViT-L/16, least cosine with fp32": partial(by_depth, dtype=torch.bfloat16, limit=0.99),
    "fp16 by depth, ViT-L/16, least cosine with fp32": partial(by_depth, dtype=torch.float16, limit=0.999),
    "DINOv2 step, fp32, losses": partial(step, kind=DinoV2),
    "DINO step, fp32, losses": partial(step, kind=Dino),
    "crops of the same draws": crops,
    **{f"head {name}, same class": partial(head, make=make, limit=limit) for name, (make, limit) in HEADS.items()},
    **{f"decoder {name}, logits and gradient": partial(decoder, head=one) for name, one in DECODERS.items()},
    "resumed fp32 run, bit-equal with deterministic algorithms": partial(resumed, precision="32-true", exact=True),
    "resumed bf16 run, bit-equal with deterministic algorithms": partial(resumed, precision="bf16-mixed", exact=True),
    "resumed bf16 run, default algorithms": partial(resumed, precision="bf16-mixed", exact=False),
    "a loss that is not finite is skipped": not_finite,
    "16-mixed with its gradient scaler": half_with_scaler,
    "FSDP2 with one rank, weights after 4 steps": fsdp,
    "compiled = eager, fp32, losses": partial(compiled, half=False, limit=1e-4),
    "compiled = eager, bf16, losses": partial(compiled, half=True, limit=2e-2),
}
