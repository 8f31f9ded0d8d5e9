"""Speed of head training against plain torch loops, on random embeddings.

Both sides run in this process and take turns; the output is the ratio of their times, median over the turns.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from eva_core.classification.metrics import selection_metric
from eva_core.contracts.head import Embedded, FittingData
from eva_core.contracts.protocol import Protocol
from eva_vision.heads.linear import Linear

RUNS = range(5)


def random_embeddings(samples: int, features: int, classes: int, seed: int) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    x = torch.empty(samples, features).normal_(generator=generator)
    return Embedded(x, torch.randint(classes, (samples,), generator=generator))


def plain_loop(train: Embedded, select: Embedded, classes: int, protocol: Protocol, run: int) -> float:
    """Train one run with a hand-written loop: nn.Linear, AdamW, the best balanced accuracy after an epoch."""
    generator = torch.manual_seed(protocol.seed + run)
    layer = nn.Linear(train.x.shape[1], classes)
    optimiser = torch.optim.AdamW(
        layer.parameters(), lr=protocol.lr[0], betas=protocol.betas, weight_decay=protocol.weight_decay
    )
    score, best, step = selection_metric("balanced_accuracy"), 0.0, 0
    while True:
        for rows in torch.randperm(len(train), generator=generator).split(protocol.batch_size):
            if step == protocol.steps:
                return best
            x, y = train.x.index_select(0, rows), train.y.index_select(0, rows)
            optimiser.zero_grad()
            nn.functional.cross_entropy(layer(x), y).backward()
            optimiser.step()
            step += 1
        with torch.no_grad():
            best = max(best, score(layer(select.x)[None], select.y).item())


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def speed(samples: int, held_out: int, features: int, classes: int, steps: int, turns: int) -> dict[str, object]:
    """Compute how many times faster five runs are than five plain loops on one thread."""
    train = random_embeddings(samples, features, classes, seed=0)
    select = random_embeddings(held_out, features, classes, seed=1)
    protocol = Protocol("bench", steps=steps)

    def plain() -> None:
        torch.set_num_threads(1)
        for run in RUNS:
            plain_loop(train, select, classes, protocol, run)

    def ours() -> None:
        Linear().fit(FittingData(train, select, classes, RUNS), protocol)

    ratios = [seconds(plain) / seconds(ours) for _ in range(turns)]
    return {
        "data": f"random, {samples} x {features}, {classes} classes, {held_out} held out",
        "runs": len(RUNS),
        "steps": steps,
        "times_faster": round(statistics.median(ratios), 2),
        "turns": [round(ratio, 2) for ratio in ratios],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="12,500 steps on the small data instead of 2,000")
    full = parser.parse_args().full
    result = {
        "small": speed(268, 132, 384, 4, steps=12_500 if full else 2_000, turns=5),
        "large": speed(100_000, 7_180, 1_024, 9, steps=782, turns=5),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
