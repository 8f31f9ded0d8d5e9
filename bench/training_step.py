"""Steps of DINOv2 on ready tensors, settings side by side: time, share of the peak, memory, waits for the device.

Needs torch, timm and lightning alone, and no data: losses, backward pass, clipping, AdamW and the teacher's step.

    python bench/training_step.py                 # ViT-L/14 at batch 32 on a GPU
    python bench/training_step.py --model S/16
    python bench/training_step.py --dry           # tiny, on a CPU: nothing is measured
"""

import argparse
import gc
import json
import random
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from eva_core.accelerator import peak_memory, reset_peak_memory, wait_for
from eva_pretrain.augment.views import Crops, Views
from eva_pretrain.compilation import seconds_compiling
from eva_pretrain.methods.base import Setup
from eva_pretrain.methods.dinov2 import DinoV2
from eva_pretrain.methods.masking import masks
from eva_pretrain.monitor.flops import peak_flops, step_flops
from eva_pretrain.network.vit import Architecture
from eva_pretrain.optimisation.optimizer import clip, make_states, parameter_groups, set_hyperparameters, update_teacher
from eva_pretrain.optimisation.recipe import Recipe

EAGER, COIN = {"compile": False}, {"drop_path_subset": False}
VARIANTS: dict[str, dict[str, Any]] = {
    "eager, checkpointing": {**EAGER, **COIN, "checkpointing": True},
    "eager": {**EAGER, **COIN},
    "eager, subset": EAGER,
    "compiled": COIN,
    "compiled, subset": {},
    "compiled, subset, checkpointing 0.5": {"checkpointing": 0.5},
}
"""Settings of the network beside those of the recipe, which has a subset and compiles."""


def architecture(model: str, dry: bool) -> tuple[Architecture, Views, int, dict[str, Any]]:
    """Network, views, batch and heads of a model."""
    common: dict[str, Any] = {"compile": True, "drop_path_subset": True}
    if dry:
        tiny = Architecture("vit_tiny_patch16_224", 32, {"depth": 2, "embed_dim": 24, "num_heads": 3}, **common)
        return tiny, Views(global_size=32, local_size=16, local_crops=2), 4, {"prototypes": 64, "hidden": 32}
    many, few = {"prototypes": 131_072, "bottleneck": 384}, {"prototypes": 65_536, "bottleneck": 256}
    vit, patch, batch, rate, heads = {
        "L/14": ("vit_large_patch14_reg4_dinov2", 14, 32, 0.4, many),
        "S/16": ("vit_small_patch16_224", 16, 128, 0.1, few),
        "B/16": ("vit_base_patch16_224", 16, 64, 0.1, few),
    }[model]
    options = {"drop_path": rate, "drop_path_everywhere": rate > 0.1}
    return Architecture(vit, 224, **common, **options), Views(local_size=7 * patch), batch, heads


def step(method: DinoV2, optimizer: torch.optim.Optimizer, crops: Crops, masked: Tensor, half: bool) -> None:
    """Run one step as `eva pretrain` does."""
    with torch.autocast(method.device.type, torch.bfloat16, enabled=half):
        terms = method.losses_with(crops, masked, temperature=0.05)
    loss = torch.stack([*terms.values()]).sum()
    loss.backward()
    sets = [list(m.parameters()) for m in (method.student.vit, *method.student.heads.values())]
    norm = clip(sets, 3.0)
    torch.stack([loss.detach().isfinite(), norm.isfinite()]).tolist()  # the one wait of a step
    optimizer.step()
    optimizer.zero_grad()
    update_teacher(method.teacher, method.student, 0.994)


def measured(model: str, variant: str, device: torch.device, dry: bool, steps: int, profiled: bool) -> dict[str, Any]:
    """Time the steps of a variant."""
    torch.compiler.reset()
    network, views, batch, heads = architecture(model, dry)
    network = Architecture(**{**vars(network), **VARIANTS[variant]})
    with device:
        method = DinoV2(Setup(network, views, Recipe(), batch), **heads).to(device).train()
    groups = parameter_groups(method.student.vit, method.student.heads, 1.0, 0.2, "dinov2")
    optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)
    make_states(optimizer)
    set_hyperparameters(optimizer, 1e-5, 0.04, 1e-5)
    sizes = ((2, views.global_size), (views.local_crops, views.local_size))
    crops = Crops(*(torch.randn(n * batch, 3, size, size, device=device) for n, size in sizes))
    rng, grid = random.Random(0), method.student.vit.grid(views.global_size)
    before, began, seconds, waits = seconds_compiling(), time.perf_counter(), [], 0
    reset_peak_memory(device)
    for number in range(3 + steps):
        masked = masks(2 * batch, grid, 0.5, (0.1, 0.5), rng=rng)
        wait_for(device)
        since = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if number == 2 and device.type == "cuda":
                torch.cuda.set_sync_debug_mode("warn")
            step(method, optimizer, crops, masked, half=not dry)
            if number == 2 and device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
                waits = sum("synchronizing" in str(w.message) for w in caught)
        wait_for(device)
        seconds.append(time.perf_counter() - since)
    if profiled:
        with profile() as profiler:
            step(method, optimizer, crops, masked, half=not dry)
            wait_for(device)
        print(profiler.key_averages().table(sort_by="self_device_time_total", row_limit=18, max_name_column_width=60))
    median = statistics.median(seconds[3:])
    vit = method.student.vit
    crops_ = (views, batch, method.masked_share)
    done, all_ = (step_flops(vit.network, method.student.heads, *crops_, r) for r in (vit.rates * vit.subset, ()))
    peak, memory = peak_flops(device, "bf16-mixed"), peak_memory(device)
    return {
        "step_s": round(median, 4),
        "patches_per_s": round(batch / median, 1),
        "tflop": round(done / 1e12, 1),
        "of_peak": peak and round(done / median / peak, 3),
        "of_peak_as_without_drop_path": peak and round(all_ / median / peak, 3),
        "peak_gb": memory and round(memory / 1e9, 1),
        "first_step_s": round(seconds[0], 1),
        "compiling_s": round(seconds_compiling() - before, 1),
        "waits": waits,
        "whole_s": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="L/14", choices=["L/14", "B/16", "S/16"])
    parser.add_argument("--variants", default=";".join(VARIANTS), help="some of these, between semicolons")
    parser.add_argument("--steps", type=int, default=10, help="number of steps that are timed")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU: nothing is measured")
    parser.add_argument("--profile", action="store_true", help="print the kernels of one more step")
    given = parser.parse_args()
    device = torch.device("cpu" if given.dry else "cuda")
    name = "a dry run on a CPU" if given.dry else torch.cuda.get_device_name()
    print(json.dumps({"device": name, "torch": torch.__version__, "model": given.model}), flush=True)
    for variant in given.variants.split(";"):
        try:
            row = measured(given.model, variant, device, given.dry, 1 if given.dry else given.steps, given.profile)
        except torch.OutOfMemoryError as error:
            row = {"failed": str(error).splitlines()[0][:160]}
        print(json.dumps({"variant": variant, **row}), flush=True)
        if device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
