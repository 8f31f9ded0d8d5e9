"""`eva demo`: three models on synthetic patches, one of them fitted here on the training images, in one table."""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor

from eva_core import registry
from eva_core.api import fit
from eva_core.errors import UsageError
from eva_core.progress import Bar
from eva_core.report import score, span
from eva_core.types import Geometry
from eva_vision.datasets.phantom import Phantom
from eva_vision.models.timm import create, timm_model
from eva_vision.transforms import resize_and_crop

OUTPUT = Path("out/demo")
ARCH = "test_resnet"
SIDE = 112
EPOCHS = 15


def main(argv: list[str]) -> int:
    """Evaluate and print; results stay in out/demo."""
    if argv in (["-h"], ["--help"]):
        print("usage: eva demo\n\nThree models on synthetic patches, protocol strict; results go to out/demo.")
        return 0
    if argv:
        raise UsageError(f"Expected `eva demo` alone, but got {' '.join(argv)!r}.")
    dataset = Phantom()
    started = time.monotonic()
    checkpoint = fit_small_network(dataset, OUTPUT / f"{ARCH}.safetensors")
    seconds = time.monotonic() - started
    small = timm_model(ARCH, checkpoint=str(checkpoint), size=SIDE)
    small.name = "small_network"
    models = {
        "random_vits16": ("random weights, 4 blocks", registry.build_model("random_vits16", depth=4)),
        "colour_stats": ("six colour numbers", registry.build_model("colour_stats")),
        "small_network": (f"{ARCH}, fitted here on train in {seconds:.0f} s", small),
    }
    table = Table(title="Balanced accuracy on SYNTHETIC patches (test, 4 classes, chance 0.25)", title_justify="left")
    for column in ("model", "what it is", "score", "95 % interval"):
        table.add_column(column, justify="right" if column in ("score", "95 % interval") else "left")
    groups = 0
    for name, (what, backbone) in models.items():
        results = fit(backbone, dataset, protocol="strict", output=OUTPUT / name)
        split = results["splits"]["test"]
        record = split["metrics"]["balanced_accuracy"]
        groups = split["n_groups"]
        table.add_row(name, what, score(record), span(record["ci95"]))
    console = Console()
    console.print(table)
    console.print(
        f"Protocol strict. Intervals resample the {groups} synthetic patients. No image is tissue, so the order of the "
        f"models says nothing about pathology. Results: {OUTPUT}/*/results.json",
        highlight=False,
    )
    return 0


def fit_small_network(dataset: Phantom, path: Path) -> Path:
    """Train a small convolutional network on the training images with their labels, from random weights, seed 0.

    Args:
        path: Where its weights go, without the classifier.
    """
    torch.manual_seed(0)
    images, targets = _training_images(dataset)
    network = create(ARCH, False, {})
    classifier = torch.nn.Linear(network.num_features, len(dataset.card.classes))
    parameters = [*network.parameters(), *classifier.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.05)
    steps = EPOCHS * -(-len(images) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    network.train()
    with Bar(f"Fitting {ARCH} on synthetic images", EPOCHS * len(images), "images") as bar:
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(images)).split(32):
                batch = _flipped(images[rows])
                loss = F.cross_entropy(classifier(network(batch)), targets[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                bar.advance(len(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), path)
    return path


def _training_images(dataset: Phantom) -> tuple[Tensor, Tensor]:
    """Normalised images (N, 3, SIDE, SIDE) and targets (N,) of the train split."""
    transform = resize_and_crop(Geometry(SIDE, SIDE))
    samples = [s for s in dataset.samples if s.split == "train"]
    card = timm_model(ARCH).card
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (card.mean, card.std))
    images = torch.stack([transform(dataset.image(s)) for s in samples]).float().div_(255).sub_(mean).div_(std)
    return images, torch.tensor([s.target for s in samples])


def _flipped(images: Tensor) -> Tensor:
    """Each batch in one of the eight orientations: tissue has no up."""
    turned = torch.rot90(images, int(torch.randint(4, ())), (2, 3))
    return turned.flip(3) if torch.rand(()) < 0.5 else turned
