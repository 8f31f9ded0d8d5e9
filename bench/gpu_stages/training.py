"""Stage (c): DINOv2 steps on a batch that is repeated, and on patches that are read from a slide online."""

import os
from functools import partial

from pretraining import RepeatedPatches, train  # beside gpu.py

from eva_core.accelerator import peak_memory, reset_peak_memory
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.monitor.throughput import ThroughputCallback
from gpu_stages.data import SLIDE
from gpu_stages.stage import Bench, Figures

TITLE = "Training, DINOv2 in bf16: 2 x 224 + 8 x 96 (98) px, full heads"
COLUMNS = ("patches_per_s", "of_peak", "waiting", "peak_gb")
SMALL = ["--method.prototypes", "65536", "--method.bottleneck", "256", "--views.local_size", "96"]
MODELS = {
    "L/14": [
        *("--vit.arch", "vit_large_patch14_reg4_dinov2", "--batch_size", "32"),
        *("--method.prototypes", "131072", "--method.bottleneck", "384", "--views.local_size", "98"),
    ],
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
STORED, CHECKPOINTED = ["--vit.checkpointing", "false"], ["--vit.checkpointing", "true"]
SUBSET = ["--vit.drop_path", "0.4", "--vit.drop_path_everywhere", "true", "--vit.drop_path_subset", "true"]
VARIANTS = {
    "eager": [*EAGER, *STORED],
    "compiled": [*COMPILED, *STORED],
    "eager, subset": [*EAGER, *STORED, *SUBSET],
    "compiled, subset": [*COMPILED, *STORED, *SUBSET],
    "eager, checkpointing": [*EAGER, *CHECKPOINTED],
    "compiled, checkpointing": [*COMPILED, *CHECKPOINTED],
    "compiled, subset, half checkpointed": [*COMPILED, "--vit.checkpointing", "0.5", *SUBSET],
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
    peak = peak_memory(bench.device)
    return {
        "patches_per_s": float(numbers["patches_per_s"]),
        "of_peak": float(numbers["of_peak"]) if "of_peak" in numbers else None,
        "waiting": float(numbers["waiting"]),
        "peak_gb": None if peak is None else peak / 1e9,
    }


def _rows(model: str, variants: tuple[str, ...], steps: int) -> dict:
    return {
        f"{model}, {v}": partial(measured, kind=RepeatedPatches, model=model, variant=v, steps=steps) for v in variants
    }


def _online(model: str, variant: str, steps: int) -> dict:
    row = partial(measured, kind=Patches, model=model, variant=variant, steps=steps)
    return {f"{model}, {variant}, patches from a slide": row}


ROWS = {
    **_rows("L/14", ("eager", "compiled", "compiled, subset", "eager, subset"), 20),
    **_online("L/14", "eager", 20),
    **_rows("S/16", ("eager", "compiled"), 40),
    **_online("S/16", "compiled", 60),
    **_rows("B/16", ("eager", "compiled"), 30),
    **_rows("L/14", ("eager, checkpointing", "compiled, checkpointing", "compiled, subset, half checkpointed"), 20),
    **_online("B/16", "eager", 40),
}
