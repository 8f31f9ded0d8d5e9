"""`eva demo`: three models on synthetic patches, one of them fitted here on the training images, in one table."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from eva_core import registry
from eva_core.api import fit
from eva_core.errors import UsageError
from eva_core.progress import Bar
from eva_core.report import score, span
from eva_core.types import Backbone, Geometry, ModelCard
from eva_vision.datasets.phantom import Phantom
from eva_vision.transforms import resize_and_crop

OUTPUT = Path("out/demo")
EPOCHS = 16
BATCH = 32


class SmallNetwork(Backbone):
    """Five convolutions, so small that it is fitted while one waits."""

    def __init__(self) -> None:
        geometry = Geometry(resize=112, crop=112)
        super().__init__(
            ModelCard("small_network", 128, geometry=geometry, pooling="mean", trained_on="phantom, train")
        )
        widths = (3, 16, 32, 64, 96, 128)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for a, b, stride in zip(widths[:-1], widths[1:], (2, 2, 2, 2, 1), strict=True)
            )
        )

    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, 128, H / 16, W / 16)."""
        return self.layers(images)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 128)."""
        return self.layers(images).mean((2, 3))


def main(argv: list[str]) -> int:
    """Evaluate and print; results stay in out/demo."""
    if argv in (["-h"], ["--help"]):
        print("usage: eva demo\n\nThree models on synthetic patches, protocol strict; results go to out/demo.")
        return 0
    if argv:
        raise UsageError(f"Expected `eva demo` alone, but got {' '.join(argv)!r}.")
    shutil.rmtree(OUTPUT, ignore_errors=True)  # its own folder; another version may have left other results there
    dataset = Phantom()
    started = time.monotonic()
    small = fit_small_network(dataset)
    seconds = time.monotonic() - started
    models = {
        "random_vits16": ("random weights, 4 blocks", registry.build_model("random_vits16", depth=4)),
        "colour_stats": ("six colour numbers", registry.build_model("colour_stats")),
        "small_network": (f"five convolutions, fitted here on train in {seconds:.0f} s", small),
    }
    table = Table(title="SYNTHETIC patches: balanced accuracy on test, 4 classes, chance 0.25", title_justify="left")
    for column in ("model", "what it is"):
        table.add_column(column)
    for column in ("score", "95 % interval"):
        table.add_column(column, justify="right")
    groups = 0
    for name, (what, backbone) in models.items():
        split = fit(backbone, dataset, protocol="strict", output=OUTPUT / name)["splits"]["test"]
        metric = split["metrics"]["balanced_accuracy"]
        groups = split["n_groups"]
        table.add_row(name, what, score(metric), span(metric["ci95"]))
    console = Console()
    console.print(table)
    console.print(
        f"Protocol strict; intervals resample {groups} synthetic patients. No image is tissue: the order of the models "
        f"says nothing about pathology. Results: {OUTPUT}/*/results.json",
        highlight=False,
    )
    return 0


def fit_small_network(dataset: Phantom) -> SmallNetwork:
    """Train on the training images and their labels, from random weights, seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallNetwork().train()
        classifier = nn.Linear(128, len(dataset.card.classes))
        images, targets = _training_images(dataset, network.card)
        optimiser = torch.optim.AdamW([*network.parameters(), *classifier.parameters()], weight_decay=0.05)
        batches = -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=EPOCHS * batches)
        with Bar("Fitting a small network on synthetic images", EPOCHS * len(images), "images") as bar:
            for _ in range(EPOCHS):
                for rows in torch.randperm(len(images)).split(BATCH):
                    loss = F.cross_entropy(classifier(network(_turned(images[rows]))), targets[rows])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    schedule.step()
                    bar.advance(len(rows))
    return network


def _training_images(dataset: Phantom, card: ModelCard) -> tuple[Tensor, Tensor]:
    """Normalised images (N, 3, 112, 112) and targets (N,) of the train split."""
    transform = resize_and_crop(card.geometry)
    samples = [s for s in dataset.samples if s.split == "train"]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (card.mean, card.std))
    images = torch.stack([transform(dataset.image(s)) for s in samples]).float().div_(255).sub_(mean).div_(std)
    return images, torch.tensor([s.target for s in samples])


def _turned(images: Tensor) -> Tensor:
    """The batch in one of its eight orientations: tissue has no up."""
    turned = torch.rot90(images, int(torch.randint(4, ())), (2, 3))
    return turned.flip(3) if torch.rand(()) < 0.5 else turned
