"""Speed of making bags of slides: against the model alone, of several models in one reading, and of lists of thousands.

Slides are what `../shared/tools/make_slide.py` makes where it can, else phantom tissue. The storage is a server on this
machine that waits 30 ms before each answer. CPU seconds are of all processes, so that other work here changes little.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from storage import Storage  # beside this file

from eva_core.config.protocols import load_protocol
from eva_core.contracts.backbone import Backbone
from eva_core.extraction.embed import embedded
from eva_core.extraction.engine import prepare
from eva_core.extraction.pixels import transform_of
from eva_core.extraction.settings import Extraction
from eva_core.store.store import store_at
from eva_vision.datasets.slide_folder import SlideFolder
from eva_vision.models.timm import timm_model
from eva_vision.slide_level.bags.bag_files import BagWriter, are_there, read_rows
from eva_vision.slide_level.bags.bag_key import bag_key, store_key
from eva_vision.slide_level.bags.bag_store import BagStore, open_bags
from eva_vision.slide_level.bags.extract import extract_bags, missing_bags
from eva_vision.slide_level.bags.fill import Model, Reading
from eva_vision.slide_level.bags.patches import BagPatches, Batch
from eva_vision.slide_level.bags.places import Places, choose_places
from eva_vision.slide_level.contracts import SlideFile
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.reading.open import open_as_stated
from eva_vision.slides.tissue_detection import tissue_mask
from eva_vision.synthetic.slides import write_phantom_slide

MAKER = Path(__file__).parents[2] / "shared" / "tools" / "make_slide.py"
WIDTH, HEIGHT = 8000, 6000
SECTION = SlideLevel(mpp=0.5, size=224)
HOW = Extraction(device="cpu")
CPU = torch.device("cpu")
SMALL = ({"size": 224}, {"size": 160, "mean": [0.7] * 3}, {"size": 96, "mean": [0.6] * 3})
"""What three small models are given: each has its own resize and mean."""


def make_slides(folder: Path, n: int) -> str:
    """Write slides and their manifest; says which they are."""
    real = MAKER.exists() and importlib.util.find_spec("imagecodecs") is not None
    for seed in range(n):
        path, size = folder / f"{seed}.svs", ("--width", str(WIDTH), "--height", str(HEIGHT), "--seed", str(seed))
        if real:
            subprocess.run([sys.executable, MAKER, path, *size], check=True, stdout=sys.stderr)
        else:
            write_phantom_slide(path, WIDTH, HEIGHT, seed)
    (folder / "manifest.csv").write_text("slide,label\n" + "".join(f"{k}.svs,{'ab'[k % 2]}\n" for k in range(n)))
    return f"{n} of {WIDTH} x {HEIGHT} at 0.25 mpp, {'real pixels' if real else 'phantom tissue'}"


def model_of(**arguments: Any) -> Model:
    backbone, protocol = timm_model(**arguments), load_protocol("strict")
    prepare(backbone, protocol, CPU)
    return Model(bag_key(backbone, protocol, SECTION), backbone, protocol)


@contextmanager
def new_cache() -> Iterator[Path]:
    before = os.environ.get("EVA_CACHE")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["EVA_CACHE"] = cache
        yield Path(cache)
    os.environ.pop("EVA_CACHE") if before is None else os.environ.update(EVA_CACHE=before)


def timed(job: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU, of this process and those that it started and saw end."""
    wall, before = time.perf_counter(), os.times()[:4]
    job()
    return time.perf_counter() - wall, sum(os.times()[:4]) - sum(before)


def bare(backbone: Backbone, batches: Sequence[torch.Tensor]) -> None:
    """Normalisation and forward pass alone."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.card.mean, backbone.card.std))
    with torch.inference_mode():
        for images in batches:
            backbone(images.float().div_(255).sub_(mean).div_(std))


def transforms(models: Sequence[Model]) -> list[Callable[[np.ndarray], torch.Tensor]]:
    return [transform_of(m.protocol)(m.protocol.geometry_for(m.backbone.card)) for m in models]


def against_model(reading: Reading, turns: int) -> dict[str, Any]:
    """Reading alone and the whole extraction against a bare loop over ready pixels, in turns."""
    model = model_of(arch="vit_small_patch16_224")
    with new_cache():
        patches = BagPatches(missing_bags([model], reading), SECTION, transforms([model]), HOW.batch_size, None)
        batches = [message.images[0] for message in patches if isinstance(message, Batch)]

    def extraction() -> None:
        with new_cache():
            extract_bags([model], reading, HOW, print)

    n = sum(map(len, batches))
    bare(model.backbone, batches[:1])
    rows = []
    for _ in range(turns):
        first = timed(lambda: bare(model.backbone, batches))
        whole, read = timed(extraction), timed(lambda: [*patches])
        last = timed(lambda: bare(model.backbone, batches))
        alone = [(a + b) / 2 for a, b in zip(first, last, strict=True)]
        rows.append(
            (read[1] / alone[1], alone[0] / whole[0], alone[1] / whole[1], 1e3 * read[1] / n, 1e3 * alone[1] / n)
        )
    names = ("reader_of_model_cpu", "whole_vs_bare_wall", "whole_vs_bare_cpu", "reader_cpu_ms", "model_cpu_ms")
    medians = (statistics.median(column) for column in zip(*rows, strict=True))
    return {"patches": n, **{name: round(value, 3) for name, value in zip(names, medians, strict=True)}}


def parts(reading: Reading) -> dict[str, dict[str, float]]:
    """Milliseconds of each part of a slide, by the clock and of CPU: medians over slides."""
    model, spent = model_of(arch="vit_small_patch16_224"), dict[str, list[tuple[float, float]]]()
    [transform] = transforms([model])

    def part(name: str, job: Callable[[], Any]) -> Any:
        kept = []
        spent.setdefault(name, []).append(timed(lambda: kept.append(job())))
        return kept[0]

    def write(places: Places, values: Sequence[dict[str, np.ndarray]]) -> None:
        facts = {"slide": "a", "width": 1, "height": 1, "slide_mpp": 0.25, "device": "cpu"}
        writer = BagWriter(cache / "a" / "b.h5", places, np.dtype(np.float32), facts, 10)
        for number, of in enumerate(values):
            writer.add(np.arange(len(of["embeddings"])) + number * HOW.batch_size, of)
        writer.finish()

    def of_slide(file: SlideFile, identity: str) -> None:
        with part("open", lambda: open_as_stated(file.path, file.mpp)) as slide:
            mask = part("tissue", lambda: tissue_mask(slide))
            places = part("choose", lambda: choose_places(slide, mask, SECTION, identity))
            pixels = part("read", lambda: [*places.read(slide, range(len(places.coords)))])
        images = part("transform", lambda: torch.stack([transform(image) for image in pixels])).split(HOW.batch_size)
        values = part("model", lambda: [embedded(CPU, model.autocast(CPU), model.backbone, batch) for batch in images])
        part("write", lambda: write(places, values))

    with new_cache() as cache:
        for slide in reading.slides.items():
            of_slide(*slide)
    return {
        name: dict(
            zip(
                ("wall_ms", "cpu_ms"),
                (round(1e3 * statistics.median(c), 1) for c in zip(*of, strict=True)),
                strict=True,
            )
        )
        for name, of in spent.items()
    }


def one_reading(reading: Reading, turns: int) -> dict[str, Any]:
    """Three small models in one reading against one by one, and whether their bags are the same."""
    models = [model_of(arch="test_vit", **arguments) for arguments in SMALL]

    def rows() -> list[np.ndarray]:
        return [read_rows(m.key.path(*slide)) for m in models for slide in reading.slides.items()]

    ratios = []
    for _ in range(turns):
        with new_cache():
            apart = [timed(lambda model=model: extract_bags([model], reading, HOW, print)) for model in models]
            before = rows()
        with new_cache():
            together = timed(lambda: extract_bags(models, reading, HOW, print))
            same = all(np.array_equal(a, b) for a, b in zip(before, rows(), strict=True))
        sums = [sum(column) for column in zip(*apart, strict=True)]
        ratios.append([a / b for a, b in zip(sums, together, strict=True)] + [together[0]])
    wall, cpu, seconds = (round(statistics.median(column), 2) for column in zip(*ratios, strict=True))
    return {"times_faster_wall": wall, "cpu_times_less": cpu, "together_s": seconds, "same_bits": same}


def remotely(folder: Path, turns: int) -> dict[str, Any]:
    """What `parts` and `one_reading` measure, of slides behind a server that takes 30 ms to answer."""
    with Storage(folder, latency=0.03) as storage:
        os.environ |= {
            "AWS_ENDPOINT_URL": storage.address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        dataset = SlideFolder("s3://slides", str(folder / "manifest.csv"))
        reading = Reading(dataset.identities(), SECTION)
        return {"three_models": one_reading(reading, turns), "parts_of_a_slide": parts(reading)}


def thousands(n: int, features: int = 1536) -> dict[str, Any]:
    """Milliseconds of CPU a slide of all that is done besides the model, with `n` bags of 8 patches."""
    patches, spent = 8, dict[str, float]()
    arrays = {
        "embeddings": np.random.default_rng(0).standard_normal((patches, features)).astype(np.float32),
        "colour_stats": np.zeros((patches, 6), np.float32),
    }
    places = Places(np.zeros((patches, 2), np.int32), 448.0, 0.5, 224, None, patches)

    def step(name: str, job: Callable[[], Any]) -> Any:
        kept = []
        spent[name] = round(1e3 * timed(lambda: kept.append(job()))[1] / n, 3)
        return kept[0]

    def write() -> None:
        for slide in missing:
            facts = {"slide": slide.file.name, "width": 1, "height": 1, "slide_mpp": 0.25, "device": "cpu"}
            path = model.key.path(slide.file, slide.identity)
            writer = BagWriter(path, places, np.dtype(np.float16), facts, 10)
            writer.add(np.arange(patches), arrays)
            writer.finish()

    with new_cache(), tempfile.TemporaryDirectory() as name:
        root, model = Path(name), model_of(arch="test_vit", size=96)
        for number in range(n):
            (root / f"{number}.svs").write_bytes(str(number).encode())
        (root / "manifest.csv").write_text("slide,label\n" + "".join(f"{k}.svs,{'ab'[k % 2]}\n" for k in range(n)))
        dataset = step("read_manifest", lambda: SlideFolder(str(root)))
        step("hash_slides_first", dataset.identities)
        reading = Reading(step("hash_slides_again", dataset.identities), SECTION)
        missing = step("find_missing", lambda: missing_bags([model], reading))
        step("write", write)
        key = store_key(model.key, dataset)
        store = step("list", lambda: open_bags(key, model, dataset, reading, HOW, print))
        step("open_list", lambda: store_at(key.path, BagStore, lambda: None, print))
        step("see_that_all_are_there", lambda: are_there(store.paths))
        bag = store.paths[0].stat().st_size - patches * features * 2
        size = {
            "list_bytes_a_bag": key.path.stat().st_size // n,
            "summary_bytes": store.paths[0].with_suffix(".json").stat().st_size,
        }
    return {"bags": n, "cpu_ms_a_bag": spent, "bag_bytes_beside_embeddings": bag, **size, "files_a_bag": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--bags", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results: dict[str, Any] = {"slides": make_slides(folder, given.slides), "threads": torch.get_num_threads()}
        with new_cache():
            reading = Reading(SlideFolder(str(folder)).identities(), SECTION)
        results["against_model"] = against_model(reading, given.turns)
        results["parts_of_a_slide"] = parts(reading)
        results["remote_30_ms"] = remotely(folder, max(1, given.turns // 2))
    results["thousands"] = thousands(given.bags)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
