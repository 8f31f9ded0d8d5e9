"""Stage (e): five linear heads of 2,000 steps each on 100,000 embeddings of 1,024 features."""

import torch
from head_training import RUNS, random_embeddings  # beside gpu.py

from eva_core.contracts.head import Embedded, FittingData
from eva_core.contracts.protocol import Protocol
from eva_vision.heads.linear import Linear
from gpu_stages.stage import Bench, Figures

TITLE = "Five linear heads, 2,000 steps each, 100,000 x 1,024 random embeddings, 9 classes"
COLUMNS = ("seconds_of_fit", "run_steps_per_s", "times_faster")
CLASSES = 9


def fit(bench: Bench, device: torch.device) -> Figures:
    """Train on a device, to which the embeddings were moved before."""
    samples, features, steps = bench.small((400, 16, 20), (100_000, 1_024, 2_000))
    train, select = (
        Embedded(part.x.to(device), part.y.to(device))
        for part in (
            random_embeddings(samples, features, CLASSES, 0),
            random_embeddings(bench.small(80, 7_180), features, CLASSES, 1),
        )
    )
    protocol = Protocol("bench", steps=steps)
    Linear().fit(FittingData(train, select, CLASSES, RUNS), Protocol("warm_up", steps=5))
    taken = bench.seconds(lambda: Linear().fit(FittingData(train, select, CLASSES, RUNS), protocol))
    return {"seconds_of_fit": taken, "run_steps_per_s": len(RUNS) * steps / taken}


def on_device(bench: Bench) -> Figures:
    """Train five heads on the GPU."""
    bench.memo["gpu_s"] = (figures := fit(bench, bench.device))["seconds_of_fit"]
    return figures


def on_cpu(bench: Bench) -> Figures:
    """Train five heads on the CPU of that machine."""
    figures = fit(bench, bench.cpu)
    return {**figures, "times_faster": figures["seconds_of_fit"] / bench.memo["gpu_s"]}


ROWS = {"GPU": on_device, "CPU, and how many times faster the GPU is": on_cpu}
