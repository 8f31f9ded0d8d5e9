"""Speed of ABMIL against plain torch loops that pad, on random embeddings with a planted signal, and what both reach.

Both sides run in this process and take turns; each reads bags from memory, which the plain loop pads batch by batch. It
has one thread, and its runs come one after the other; ours has as many threads as torch is given. Seconds are of
`--epochs` epochs in which nobody stops early; the accuracies are of whole fits, on shorter bags.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from eva_core.contracts.protocol import Protocol
from eva_vision.slide_level.classification.outcome import Classes
from eva_vision.slide_level.contracts import BagData, Bags
from eva_vision.slide_level.heads.abmil import Abmil
from eva_vision.slide_level.protocol import SlideLevel

PROTOCOL = Protocol("bench", warmup_epochs=5)  # eva-0.4 hides a third of the learning rate in the first epochs
SIGNAL = 0.02  # share of the patches of a positive bag that are shifted


class RandomBags(Bags):
    """Bags in memory, of which those of one class have a few shifted patches."""

    def __init__(self, counts: Sequence[int], features: int, seed: int, shift: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.counts = np.array(counts)
        self.targets = torch.arange(len(counts)) % 2
        self.x = [torch.randn(n, features, generator=generator) for n in counts]
        for x, target in zip(self.x, self.targets.tolist(), strict=True):
            x[: max(1, round(SIGNAL * len(x)))] += target * shift / features**0.5
        self.means = torch.stack([x.mean(0) for x in self.x])

    def read(self, number: int) -> Tensor:
        return self.x[number]


class PlainAbmil(nn.Module):
    """Gated attention as one writes it for padded bags."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, 128)
        self.value, self.gate, self.weight = nn.Linear(128, 128), nn.Linear(128, 128), nn.Linear(128, 1)
        self.classifier = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        padding = (x == -torch.inf).any(2, keepdim=True)
        h = self.project(x.masked_fill(padding, 0))
        scores = self.weight(torch.tanh(self.value(h)) * torch.sigmoid(self.gate(h)))
        weights = scores.masked_fill(padding, -torch.inf).softmax(1)
        return self.classifier((weights.transpose(1, 2) @ h)[:, 0])[:, 0]


def plain_loop(train: RandomBags, val: RandomBags, length: int, section: SlideLevel, run: int) -> float:
    """Train one run by a hand-written loop; the best balanced accuracy on val after an epoch."""

    def padded(bags: RandomBags, rows: Sequence[int]) -> Tensor:
        x = torch.full((len(rows), length, bags.means.shape[1]), -torch.inf)
        for place, row in enumerate(rows):
            x[place, : len(bags.x[row])] = bags.x[row]
        return x

    torch.manual_seed(1000 + run)
    network = PlainAbmil(train.means.shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=section.lr[0], weight_decay=section.weight_decay)
    best, waited = 0.0, 0
    for epoch in range(section.epochs):
        for group in optimizer.param_groups:
            group["lr"] = section.lr[0] / (3 if epoch < 5 else 1)
        for rows in torch.randperm(len(train)).split(section.batch_size):
            optimizer.zero_grad()
            logits = network(padded(train, rows.tolist()))
            nn.functional.binary_cross_entropy_with_logits(logits, train.targets[rows].float()).backward()
            optimizer.step()
        with torch.no_grad():
            parts = torch.arange(len(val)).split(section.batch_size)
            positive = torch.cat([network(padded(val, rows.tolist())) for rows in parts]) > 0
        recalls = [(positive[val.targets == k] == bool(k)).float().mean().item() for k in (0, 1)]
        best, waited = (sum(recalls) / 2, 0) if sum(recalls) / 2 > best else (best, waited + 1)
        if section.patience is not None and waited >= section.patience:
            break
    return best


def ours(train: RandomBags, val: RandomBags, section: SlideLevel) -> list[float]:
    data = BagData(train, val, Classes(2, "balanced_accuracy"), range(section.runs), section)
    return [run.selected_value for run in Abmil().fit(data, PROTOCOL)]


def timed(job: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - clock, time.process_time() - cpu


def speed(counts: Sequence[int], features: int, section: SlideLevel, threads: int) -> dict[str, object]:
    """Time half of the plain loops, ours, the other half, and ours again."""
    train = RandomBags(counts, features, 0, 4.0)
    val = RandomBags(counts[: len(counts) // 4], features, 1, 4.0)
    plain, own = [], []
    for run in range(section.runs):
        if run == section.runs // 2:
            torch.set_num_threads(threads)
            own.append(timed(lambda: ours(train, val, section)))
        torch.set_num_threads(1)
        plain.append(timed(lambda run=run: plain_loop(train, val, max(counts), section, run)))
    torch.set_num_threads(threads)
    own.append(timed(lambda: ours(train, val, section)))
    plain_s, plain_cpu = (sum(part) for part in zip(*plain, strict=True))
    own_s, own_cpu = (statistics.median(part) for part in zip(*own, strict=True))
    return {
        "bags": f"{len(counts)} of {min(counts)} to {max(counts)} x {features}, {len(val)} more to select",
        "runs": section.runs,
        "epochs": section.epochs,
        "threads": threads,
        "plain_s": round(plain_s, 1),
        "ours_s": round(own_s, 1),
        "times_faster": round(plain_s / own_s, 2),
        "cpu_times_less": round(plain_cpu / own_cpu, 2),
    }


def agreement(features: int, runs: int, threads: int) -> dict[str, object]:
    """Whole fits of both on shorter bags: balanced accuracy on what selects, mean and spread over runs."""
    counts = [int(n) for n in np.random.default_rng(0).integers(20, 80, 216)]
    train, val = RandomBags(counts, features, 0, 5.0), RandomBags(counts[:108], features, 1, 5.0)
    section = SlideLevel(runs=runs)
    own = ours(train, val, section)
    torch.set_num_threads(1)
    plain = [plain_loop(train, val, max(counts), section, run) for run in range(runs)]
    torch.set_num_threads(threads)
    told = {
        name: [round(statistics.mean(v), 4), round(statistics.stdev(v), 4)]
        for name, v in (("plain", plain), ("ours", own))
    }
    return {"bags": "216 of 20 to 80", "runs": runs, "balanced_accuracy_mean_and_sd": told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bags", type=int, default=216)
    parser.add_argument("--patches", type=int, default=1000)
    parser.add_argument("--features", type=int, default=384)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--fits", type=int, default=5, help="runs of whole fits that are compared; 0: none")
    args = parser.parse_args()
    threads = torch.get_num_threads()
    section = SlideLevel(runs=args.runs, epochs=args.epochs, patience=None)
    uneven = np.random.default_rng(0).integers(1, args.patches + 1, args.bags).tolist()
    results = {
        "full": speed([args.patches] * args.bags, args.features, section, threads),
        "uneven": speed(uneven, args.features, section, threads),
    }
    if args.fits:
        results["agreement"] = agreement(args.features, args.fits, threads)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
