"""Stage (c): DINOv2 steps on a batch that is repeated, and on patches that are read from a slide online."""

import os
from functools import partial

from pretraining import RepeatedPatches, train  # beside gpu.py

from eva_core.accelerator import peak_memory, reset_peak_memory
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.methods.base import Method
from eva_pretrain.monitor.flops import step_flops
from eva_pretrain.monitor.throughput import ThroughputCallback
from gpu_stages.data import SLIDE
from gpu_stages.stage import Bench, Figures

TITLE = "Training, DINOv2 in bf16: 2 x 224 + 8 x 96 (98) px, full heads"
COLUMNS = ("patches_per_s", "of_peak", "as_others_count", "waiting", "peak_gb")
SMALL = ["--method.prototypes", "65536", "--method.bottleneck", "256", "--views.local_size", "96"]
LARGE = ["--method.prototypes", "131072", "--method.bottleneck", "384", "--views.local_size", "98"]
MODELS = {
    "L/14": [*LARGE, "--vit.arch", "vit_large_patch14_reg4_dinov2", "--batch_size", "32"],
    "g/14": [*LARGE, "--vit.arch", "vit_giant_patch14_dinov2", "--batch_size", "24"],
    "S/16": [*SMALL, "--vit.arch", "vit_small_patch16_224", "--batch_size", "128"],
    "B/16": [*SMALL, "--vit.arch", "vit_base_patch16_224", "--batch_size", "64"],
}
TINY = [
    *("--vit.arch", "vit_tiny_patch16_224", "--vit.size", "32", "--batch_size", "4"),
    "--vit.arguments={depth: 2, embed_dim: 24, num_heads: 3}",
    *("--method.prototypes", "32", "--method.hidden", "32", "--method.bottleneck", "16"),
    *("--views.global_size", "32", "--views.local_size", "16", "--views.local_crops", "2"),
]
EAGER, COMPILED = ["--vit.compile", "false"], ["--vit.compile", "true"]
STORED, HALF = ["--vit.checkpointing", "false"], ["--vit.checkpointing", "0.5"]
SUBSET = ["--vit.drop_path", "0.4", "--vit.drop_path_everywhere", "true", "--vit.drop_path_subset", "true"]
VARIANTS = {
    "eager": [*EAGER, *STORED],
    "compiled": [*COMPILED, *STORED],
    "eager, subset": [*EAGER, *STORED, *SUBSET],
    "compiled, subset": [*COMPILED, *STORED, *SUBSET],
    "compiled, subset, half checkpointed": [*COMPILED, *HALF, *SUBSET],
}


def arguments(bench: Bench, model: str, variant: str) -> list[str]:
    """Build the flags of `eva pretrain`."""
    workers = bench.small(0, min(12, len(os.sched_getaffinity(0))))
    source = ["--slides", str(bench.data / SLIDE), "--data.workers", str(workers)]
    return [*source, *bench.small(TINY, MODELS[model]), *VARIANTS[variant]]


def measured(bench: Bench, kind: type[Patches], model: str, variant: str, steps: int) -> Figures:
    """Train, and time the second half of the steps."""
    reset_peak_memory(bench.device)
    output = bench.scratch / f"{model} {variant} {kind.__name__}".replace("/", "")
    trainer = train(arguments(bench, model, variant), bench.small(2, steps), output, [], kind, bench.device)
    numbers = next(c for c in trainer.callbacks if isinstance(c, ThroughputCallback)).numbers[1]
    peak, of_peak = peak_memory(bench.device), numbers.get("of_peak")
    return {
        "patches_per_s": float(numbers["patches_per_s"]),
        "of_peak": of_peak,
        "as_others_count": of_peak and of_peak * without_drop_path(trainer.lightning_module),
        "waiting": float(numbers["waiting"]),
        "peak_gb": None if peak is None else peak / 1e9,
    }


def without_drop_path(method: Method) -> float:
    """Work of a step in which no branch is dropped, over the work that is done: a published share counts the first."""
    vit, crops = method.student.vit, (method.setup_.views, method.setup_.batch_size, method.masked_share)
    every, done = (step_flops(vit.network, method.student.heads, *crops, r) for r in ((), vit.rates * vit.subset))
    return every / done


def _rows(model: str, variants: tuple[str, ...], steps: int) -> dict:
    return {
        f"{model}, {v}": partial(measured, kind=RepeatedPatches, model=model, variant=v, steps=steps) for v in variants
    }


def _online(model: str, variant: str, steps: int) -> dict:
    row = partial(measured, kind=Patches, model=model, variant=variant, steps=steps)
    return {f"{model}, {variant}, patches from a slide": row}


ROWS = {
    **_rows("L/14", ("compiled, subset",), 20),
    **_rows("S/16", ("compiled",), 40),
    **_online("S/16", "compiled", 60),
    **_online("L/14", "compiled, subset", 20),
    **_rows("L/14", ("eager", "eager, subset", "compiled"), 20),
    **_rows("S/16", ("eager",), 40),
    **_rows("B/16", ("compiled", "eager"), 30),
    **_rows("g/14", ("compiled, subset, half checkpointed",), 10),
    **_rows("L/14", ("compiled, subset, half checkpointed",), 20),
}
"""Rows by importance, as the last ones may not fit in the time of the stage."""
