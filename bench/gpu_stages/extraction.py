"""Stage (b): images per second of extraction, and its share of a plain timm loop over images on the GPU."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from eva_core.config.protocols import load_protocol
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.dataset import Dataset
from eva_core.extraction.embed import extract
from eva_core.extraction.engine import full_precision
from eva_core.extraction.settings import Extraction
from eva_core.store.store import StoreKey
from eva_vision.models.timm import timm_model
from gpu_stages.data import JpegPatches, SlidePatches
from gpu_stages.stage import Bench, Figures, Row

TITLE = "Extraction, images/s: 224 px, batch of 128 (random weights)"
COLUMNS = ("images_per_s", "of_timm_loop", "images")
BATCH = 128


@dataclass(frozen=True)
class Model:
    """Network, and the number of images that take about two seconds on one H100, by precision (estimated)."""

    arch: str
    images: dict[str, int]


MODELS = {
    "ViT-S/16": Model("vit_small_patch16_224", {"bf16": 16_384, "fp32": 8_192}),
    "ViT-L/16": Model("vit_large_patch16_224", {"bf16": 6_144, "fp32": 1_024}),
    "ViT-g/14": Model("vit_giant_patch14_224", {"bf16": 2_048, "fp32": 256}),
}
SOURCES = ("timm loop", "JPEG, 12 workers", "slide, 12 workers", "JPEG, 1 worker")
ONE_WORKER = 1_024  # images: a worker decodes a few hundred a second


def backbone(bench: Bench, name: str) -> Backbone:
    """Build a model once; the previous one is released."""
    if bench.memo.get("name") != name:
        bench.memo.clear()
        arguments = bench.small({"depth": 1, "embed_dim": 48, "num_heads": 3}, {})
        with bench.device:  # a billion random weights take a CPU half a minute
            built = timm_model(MODELS[name].arch, **arguments)
        bench.memo.update(name=name, model=built.to(bench.device).eval())
    return bench.memo["model"]


def timm_loop(bench: Bench, name: str, precision: str) -> Figures:
    """Normalise and embed uint8 images on the device, in a plain loop."""
    model, images = backbone(bench, name), bench.small(4, MODELS[name].images[precision])
    full_precision()
    batch = torch.randint(0, 256, (min(BATCH, images), 3, 224, 224), dtype=torch.uint8, device=bench.device)
    mean, std = (torch.tensor(v, device=bench.device).view(3, 1, 1) for v in (model.card.mean, model.card.std))

    def embed() -> None:
        with torch.inference_mode(), torch.autocast(bench.device.type, torch.bfloat16, enabled=precision == "bf16"):
            model.network(batch.float().div_(255).sub_(mean).div_(std))

    rate = len(batch) / bench.rate(embed, max(1, images // len(batch)))
    bench.memo[precision] = rate
    return {"images_per_s": rate, "images": images}


def ours(bench: Bench, name: str, precision: str, dataset: Callable[[int], Dataset], workers: int) -> Figures:
    """Extract as `eva predict` does, the start of the workers and the store included."""
    model, images = backbone(bench, name), bench.small(4, MODELS[name].images[precision])
    if workers == 1:
        images = min(images, ONE_WORKER)
    source, protocol = dataset(images), replace(load_protocol("eva-0.4"), precision=precision)
    content = {"dataset_sha256": source.fingerprint(), "workers": workers, "precision": precision}
    key = StoreKey(name, source.card.name, content)  # no need to hash a billion weights
    how = Extraction(device=bench.small("cpu", "cuda"), batch_size=BATCH, workers=bench.small(0, workers))
    seconds = bench.seconds(lambda: extract(key, model, source, protocol, how, tell=lambda line: None))
    return {
        "images_per_s": images / seconds,
        "of_timm_loop": images / seconds / bench.memo[precision],
        "images": images,
    }


def _row(name: str, precision: str, source: str) -> Row:
    if source == "timm loop":
        return partial(timm_loop, name=name, precision=precision)

    def row(bench: Bench) -> Figures:
        os.environ["EVA_CACHE"] = str(bench.scratch / name.replace("/", "") / precision / source)
        kind = JpegPatches if source.startswith("JPEG") else SlidePatches
        return ours(bench, name, precision, partial(kind, bench.data), 1 if source.endswith("1 worker") else 12)

    return row


ROWS = {
    f"{name} {precision}, {source}": _row(name, precision, source)
    for name in MODELS
    for precision in ("bf16", "fp32")
    for source in SOURCES
    if precision == "bf16" or source != SOURCES[-1]  # one worker is the limit, not the precision
}
