"""Painted images whose colours are their classes, and backbones that see every pixel: right answers are known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from eva_core.config.protocols import load_protocol, resolve, section_of
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import DatasetCard, Geometry, ModelCard
from eva_core.contracts.dataset import Sample
from eva_core.contracts.protocol import Protocol
from eva_core.extraction.settings import Extraction
from eva_core.job import Job
from eva_vision.segmentation.context import Context, open_context
from eva_vision.segmentation.contracts import IGNORE, SegmentationDataset, SegmentationHead
from eva_vision.segmentation.decoders.heads import LinearSeg
from eva_vision.segmentation.features.feature_maps import extract_maps, maps_key
from eva_vision.segmentation.features.map_store import MapStore

CLASSES = ("background", "pink", "blue")
PALETTE = np.array([[230, 220, 235], [200, 60, 120], [50, 60, 170]], np.uint8)
SIZES = [(37, 23), (16, 16), (9, 50)]
HOW = Extraction(device="cpu", batch_size=4, workers=0)
Sizes = Sequence[tuple[int, int]]


def painted(height: int, width: int, seed: int, block: int = 5) -> np.ndarray:
    """Classes in blocks: uint8 (height, width)."""
    blocks = np.random.default_rng(seed).integers(0, 3, (-(-height // block), -(-width // block)), np.uint8)
    return blocks.repeat(block, 0).repeat(block, 1)[:height, :width].copy()


def coloured(mask: np.ndarray) -> np.ndarray:
    """Its picture; what is ignored looks like background."""
    return PALETTE[np.where(mask == IGNORE, 0, mask)]


class Painted(SegmentationDataset):
    """Images in memory, by split; every second pair of them is a group. `hole` ignores the upper left corner."""

    def __init__(self, mpp: float | None = None, hole: int = 0, grouped: bool = True, **sizes: Sizes) -> None:
        self.card = DatasetCard("painted", "segmentation", CLASSES, mpp, metric="dice", background=0, synthetic=True)
        self.hole, self.sizes = hole, [size for split in sizes.values() for size in split]
        self.samples = [
            Sample(
                f"{split}{i}",
                split,
                None,
                bytes=1000 * h + w + hole,
                group=f"{split}_{i // 2}" if grouped else None,
                mpp=mpp,
            )
            for split, of_split in sizes.items()
            for i, (h, w) in enumerate(of_split)
        ]

    def labelled(self, sample: Sample) -> bool:
        return True

    def size(self, sample: Sample) -> tuple[int, int]:
        return self.sizes[self.samples.index(sample)]

    def mask(self, sample: Sample) -> np.ndarray:
        number = self.samples.index(sample)
        mask = painted(*self.sizes[number], number)
        mask[: self.hole, : self.hole] = IGNORE
        return mask

    def image(self, sample: Sample) -> np.ndarray:
        return coloured(self.mask(sample))


class WithObjects(Painted):
    """Each class is one object."""

    def instances(self, sample: Sample) -> np.ndarray:
        mask = self.mask(sample)
        return np.where(mask == IGNORE, 0, mask).astype(np.int32)


class Pixels(Backbone):
    """Mean colour of every cell; counts its images, and can be made to stop."""

    def __init__(self, cell: int = 1, weight: float = 1.0, stop_after: int | None = None) -> None:
        card = ModelCard(
            "pixels", mean=(0.0,) * 3, std=(1.0,) * 3, patch_size=cell, geometry=Geometry(16, 16), collections=()
        )
        super().__init__(card)
        self.weight = nn.Parameter(torch.tensor(weight))
        self.cell, self.seen, self.stop_after, self.arguments = cell, 0, stop_after, {"cell": cell}

    def forward(self, images: Tensor) -> Tensor:
        return self.feature_map(images).mean((2, 3))

    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        if self.stop_after is not None and self.seen >= self.stop_after:
            self.stop()
        self.seen += len(images)
        found = F.avg_pool2d(images, self.cell) * self.weight
        return torch.cat([found * (layer + 1) for layer in layers or [0]], dim=1)

    def stop(self) -> None:
        raise KeyboardInterrupt


class Nearest(nn.Module):
    """The class whose colour is nearest: the right answer wherever a cell is one pixel."""

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        palette = torch.from_numpy(PALETTE).float().div(255).to(features.device)
        return -(features[:, None] - palette[None, :, :, None, None]).square().sum(2)


class Constant(nn.Module):
    """One class everywhere."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        logits = torch.zeros(len(features), len(CLASSES), *features.shape[2:])
        logits[:, self.label] = 1
        return logits


def protocol(name: str = "strict", side: int = 16, runs: int = 2, **fields: Any) -> Protocol:
    """A shipped protocol, for inputs of `side` pixels and quick."""
    shipped = load_protocol(name)
    quick = {"overlap": 4 if shipped.segmentation.stitch else 0, "steps": 30, "batch_size": 8, "lr": 0.05}
    segmentation = replace(shipped.segmentation, **{**quick, **fields})
    return replace(shipped, geometry=Geometry(side, side), runs=runs, segmentation=segmentation)


def extracted(dataset: SegmentationDataset, backbone: Backbone, recipe: Protocol, how: Extraction = HOW) -> MapStore:
    """The feature maps of a dataset."""
    section = section_of(recipe, dataset.card)
    return extract_maps(maps_key(backbone, dataset, recipe, section), backbone, dataset, recipe, section, how, print)


def laid_out(
    dataset: SegmentationDataset,
    backbone: Backbone | None = None,
    recipe: Protocol | None = None,
    how: Extraction = HOW,
    head: SegmentationHead | None = None,
) -> Context:
    """A job on its extracted store."""
    backbone, recipe = backbone or Pixels(), recipe or protocol()
    resolved = resolve(recipe, dataset.card)
    job = Job("pixels", backbone, dataset, recipe, resolved, how, "linear_seg", head or LinearSeg())
    return open_context(job, extracted(dataset, backbone, recipe, how))


def write_masked(root: Path, sizes: dict[str, Sizes] | None = None) -> Path:
    """A tree for `mask_folder`, with the names of its classes."""
    number = 0
    for split, of_split in (sizes or {"train": [(20, 24)] * 6, "val": [(20, 24)] * 2, "test": [(20, 24)] * 2}).items():
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True)
        for i, (height, width) in enumerate(of_split):
            mask = painted(height, width, number)
            Image.fromarray(mask).save(root / split / "masks" / f"{i}.png")
            Image.fromarray(coloured(mask)).save(root / split / "images" / f"{i}.png")
            number += 1
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


def arrays(store: MapStore) -> dict[str, np.ndarray]:
    """What the file of a store holds."""
    with h5py.File(store.path) as file:
        return {name: file[name][:] for name in ("features", "images", "masks", "tiles", "signature", "readable")}
