"""Decoder training from stored feature maps against the backbone in the loop, in turns, on real patches; read rate.

Both sides see the same tiles in the same order. The store's reader is timed with so little memory that it reads every
block anew, and the raw read of the same file comes just before and just after: both from the page cache.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from eva_core import registry
from eva_core.config.protocols import load_protocol, resolve
from eva_core.extraction.engine import prepare
from eva_core.extraction.pixels import transform_of
from eva_core.extraction.settings import Extraction
from eva_core.job import Job
from eva_vision.datasets.mask_folder import MaskFolder
from eva_vision.segmentation.context import Context, open_context
from eva_vision.segmentation.decoders.training import new_decoder, train
from eva_vision.segmentation.features.batches import Online, Source, Stored
from eva_vision.segmentation.features.feature_maps import extract_maps, maps_key
from eva_vision.segmentation.features.tile_images import TileImages
from eva_vision.segmentation.features.tiles import Tile
from eva_vision.segmentation.scoring.scoring import mean_dice

BATCH = 32
MODEL = "random_vits16"
EPOCHS = {"linear_seg": 8, "conv_seg": 8, "conv_seg_image": 2}
"""Number of epochs after which the Dice is compared, by head."""


def prepared(root: Path, images: int) -> Context:
    """Extract the feature maps of the first images of each split."""
    dataset = MaskFolder(str(root), key="type")
    by_split = [[s for s in dataset.samples if s.split == split] for split in ("train", "test")]
    dataset.samples = [s for samples in by_split for s in samples[:images]]
    protocol = load_protocol("eva-0.4-offline")
    backbone, head = registry.build_model(MODEL), registry.heads.build("linear_seg")
    resolved, how = resolve(protocol, dataset.card), Extraction(device="cpu")
    key = maps_key(backbone, dataset, protocol, resolved.section)
    store = extract_maps(key, backbone, dataset, protocol, resolved.section, how, lambda line: None)
    prepare(backbone, protocol, torch.device("cpu"))
    return open_context(Job(MODEL, backbone, dataset, protocol, resolved, how, "linear_seg", head), store)


def in_the_loop(at: Context, samples: np.ndarray) -> Online:
    """Read the tiles of samples through the backbone."""
    tiles = [Tile(*map(int, place)) for place in at.store.tiles]
    items = TileImages(at.dataset, tiles, at.cutting, transform_of(at.job.protocol)(at.cutting.geometry), skip=False)
    return Online(items, at.store.tiles_of(samples), at.section, at.job.backbone, at.fabric, at.job.how)


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def trained(at: Context, name: str, source: Source, epochs: int) -> torch.nn.Module:
    """Train a decoder for some epochs, without any evaluation."""
    decoder = new_decoder(registry.heads.build(name), at.store.channels, len(at.card.classes), 0, at.device)
    steps = epochs * -(-len(source) // BATCH)
    section = replace(at.section, batch_size=BATCH, steps=steps, evaluate_every=steps + 1, patience=None)
    train(decoder, source, lambda _: 0.0, section, run=0, seed=0)
    return decoder


def by_head(at: Context, turns: int) -> dict[str, dict[str, object]]:
    """Compute by head how many times faster an epoch is from the store, median over turns, and the Dice of both."""
    train_rows, test_rows = at.store.rows("train"), at.store.rows("test")
    stored, online = at.stored(train_rows), in_the_loop(at, train_rows)
    results: dict[str, dict[str, object]] = {}
    for name, enough in EPOCHS.items():
        ratios = []
        for _ in range(turns):
            slow = seconds(lambda name=name: trained(at, name, online, 1))
            ratios.append(slow / seconds(lambda name=name: trained(at, name, stored, 1)))
        dice = [mean_dice(at, trained(at, name, source, enough), test_rows) for source in (stored, online)]
        results[name] = {
            "times_faster": round(statistics.median(ratios), 1),
            "turns": [round(ratio, 1) for ratio in ratios],
            "dice_stored_online": [round(value, 5) for value in dice],
        }
    return results


def reading(at: Context, turns: int) -> dict[str, object]:
    """Divide the rate of an epoch's shuffled reading by that of reading the file from end to end."""
    tiles = np.arange(len(at.store.tiles))
    blocks = Stored(at.store, tiles, at.job.backbone, at.device, memory=3e7, flips=False)
    payload = sum(array.row_bytes for array in blocks._rows) * len(tiles)
    size = at.store.path.stat().st_size
    ratios, rates = [], []
    before = size / seconds(lambda: raw(at.store.path))
    for turn in range(turns):
        rate = payload / seconds(lambda turn=turn: [0 for _ in blocks._windows(BATCH, np.random.default_rng(turn))])
        after = size / seconds(lambda: raw(at.store.path))
        ratios.append(2 * rate / (before + after))
        rates.append(rate)
        before = after
    return {
        "bytes_per_tile": size // len(tiles),
        "read_mb_s": round(statistics.median(rates) / 1e6),
        "read_vs_raw": round(statistics.median(ratios), 2),
    }


def raw(path: Path, block: int = 2**24) -> None:
    """Read a file from end to end into one buffer."""
    buffer = bytearray(block)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="folder of a mask_folder dataset, npz with the key `type`")
    parser.add_argument("--images", type=int, default=64, help="largest number of images of each split")
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["EVA_CACHE"] = cache
        at = prepared(given.root, given.images)
        print(json.dumps({"tiles": len(at.store.tiles), **reading(at, 9), **by_head(at, given.turns)}))


if __name__ == "__main__":
    main()
