"""Speed of extraction against a plain timm loop over images that are already decoded, in turns, on real patches.

The loop does the least that an extraction must do: it normalises uint8 images in memory, and runs the forward pass.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from eva_core.config.protocols import load_protocol
from eva_core.contracts.cards import Geometry
from eva_core.extraction.embed import extract, store_key
from eva_core.extraction.pixels import transform_of
from eva_core.extraction.settings import Extraction
from eva_vision.datasets.folder import Folder
from eva_vision.models.timm import timm_model

BATCH = 32


def timm_loop(network: torch.nn.Module, images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> float:
    """Time normalisation and forward pass alone: images per second."""
    started = time.perf_counter()
    with torch.inference_mode():
        for batch in images.split(BATCH):
            network(batch.float().div_(255).sub_(mean).div_(std))
    return len(images) / (time.perf_counter() - started)


def compare(root: Path, n: int, turns: int) -> dict:
    """Divide our rate by the mean rate of the loop just before and after, as machines drift; median over turns."""
    dataset = Folder(str(root))
    dataset.samples = dataset.samples[:: max(1, len(dataset.samples) // n)][:n]
    protocol = load_protocol("eva-0.4")
    backbone = timm_model("vit_small_patch16_224").eval()
    transform = transform_of(protocol)(Geometry())
    images = torch.stack([transform(dataset.image(s)) for s in dataset.samples])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.card.mean, backbone.card.std))
    timm_loop(backbone.network, images[:BATCH], mean, std)
    ratios, before = [], timm_loop(backbone.network, images, mean, std)
    for turn in range(turns):
        key = replace(
            store_key(backbone, dataset, protocol), content={"dataset_sha256": dataset.fingerprint(), "turn": turn}
        )
        ours = float(extract(key, backbone, dataset, protocol, Extraction(device="cpu")).attributes["images_per_s"])
        after = timm_loop(backbone.network, images, mean, std)
        ratios.append(2 * ours / (before + after))
        before = after
    return {
        "images": n,
        "turns": [round(ratio, 3) for ratio in ratios],
        "extraction_vs_timm_loop": round(statistics.median(ratios), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="a folder dataset")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["EVA_CACHE"] = cache
        print(json.dumps(compare(given.root, given.images, given.turns)))


if __name__ == "__main__":
    main()
