"""Speed of reading patches from slides against other libraries, in turns, on one large slide: ratios, CPU per patch.

The slide is what `../shared/tools/make_slide.py` makes, or any whose level 0 has 0.25 micrometres per pixel. What
needs `cucim`, `fastslide`, `wsistream`, or `tiffslide` and `s3fs`, is left out where these are not installed. The
storage is a server on this machine that waits 30 ms before each answer.
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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import psutil
from PIL import Image
from storage import Storage  # beside this file

from eva_pretrain.data.loader import PatchLoader, PatchStream
from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.index import Index
from eva_vision.slides.reading.open import open_by
from eva_vision.slides.sampler import Sampler, Sampling

MAKER = Path(__file__).parents[2] / "shared" / "tools" / "make_slide.py"
BATCH = 64
Place = tuple[int, int, int, float]
Read = Callable[[int, int, int, int], Image.Image]
"""Column and row in pixels of a level, the level, a side -> image."""


def has(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)


def places(index: Index, size: int, mpp: tuple[float, ...], n: int) -> list[Place]:
    """Draw places in tissue."""
    sampler = Sampler(index.entries, index.mask, Sampling(size=size, mpp=mpp), seed=7)
    return [(at.x, at.y, at.size, at.mpp) for at in map(sampler.place, range(n))]


def by_levels(read: Read, steps: Sequence[float], where: Sequence[Place]) -> None:
    """Read places with a library that knows levels: the lowest that is fine enough, on its grid, then a resize.

    Args:
        read: Reads one square.
        steps: Level-0 pixels that a pixel of each level spans.
        where: Places to read.
    """
    for x, y, size, mpp in where:
        scale = mpp / 0.25
        level = max(number for number, step in enumerate(steps) if step <= scale * 1.001)
        side = round(size * scale / steps[level])
        image = read(round(x / steps[level]), round(y / steps[level]), level, side)
        np.asarray(image if side == size else image.resize((size, size), Image.Resampling.BOX))


def libraries(path: Path) -> dict[str, Callable[[Sequence[Place]], None]]:
    """Make the function of each library that is installed, which reads places; caches of tiles stay as they come."""
    slide = openslide.OpenSlide(path)
    steps = slide.level_downsamples

    def by_openslide(x: int, y: int, level: int, side: int) -> Image.Image:
        corner = (round(x * steps[level]), round(y * steps[level]))
        return slide.read_region(corner, level, (side, side)).convert("RGB")

    readers: dict[str, Read] = {"openslide": by_openslide}
    if has("cucim"):
        from cucim import CuImage

        cu = CuImage(str(path))

        def by_cucim(x: int, y: int, level: int, side: int) -> Image.Image:
            corner = (round(x * steps[level]), round(y * steps[level]))
            return Image.fromarray(np.asarray(cu.read_region(corner, (side, side), level)))

        readers["cucim"] = by_cucim
    if has("fastslide"):
        from fastslide import FastSlide

        fast = FastSlide.from_file_path(str(path))
        readers["fastslide"] = lambda x, y, level, side: Image.fromarray(
            fast.read_region((x, y), level, (side, side)).numpy()
        )
    return {name: lambda where, read=read: by_levels(read, steps, where) for name, read in readers.items()}


def turns(jobs: dict[str, Callable[[], Any]], n: int, turns: int) -> dict[str, Any]:
    """Compute the CPU milliseconds per patch of each, and medians of theirs / ours over turns; ours is first."""
    for job in jobs.values():
        job()
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(turns):
        for name, job in jobs.items():
            started = time.process_time()
            job()
            spent[name].append(1e3 * (time.process_time() - started) / n)
    ours = next(iter(spent.values()))
    ratios = {
        f"{name} / ours": round(statistics.median(b / a for a, b in zip(ours, times, strict=True)), 2)
        for name, times in list(spent.items())[1:]
    }
    return {**ratios, "cpu_ms": {name: round(statistics.median(times), 3) for name, times in spent.items()}}


def readers(path: Path, index: Index, n: int, rounds: int) -> dict[str, Any]:
    """Compare our reader with the libraries that are installed."""
    theirs, ours = libraries(path), index.open(0)
    work = {
        "256_at_level_0": places(index, 256, (0.25,), n),
        "224_at_0.5": places(index, 224, (0.5,), n),
        "mix_5_10_20_40x": places(index, 256, (0.25, 0.5, 1.0, 2.0), n),
        # no two alike, and more of them than we keep the weights of
        "any_mpp": [(x, y, s, float(m)) for (x, y, s, _), m in
                    zip(places(index, 256, (2.0,), 4 * n), np.geomspace(0.25, 2, 4 * n), strict=True)],
    }  # fmt: skip

    def jobs(at: list[Place]) -> dict[str, Callable[[], Any]]:
        mine = {"ours": lambda: deque(ours.read_each(at), 0)}  # which keeps no patch, as the others do
        return mine | {name: lambda f=f: f(at) for name, f in theirs.items()}

    return {name: turns(jobs(at), len(at), rounds) for name, at in work.items()}


def rate(batches: Iterator[Any], n: int, first: int = 4) -> tuple[float, float]:
    """Compute patches per second, and CPU milliseconds per patch over all processes, after the first batches."""
    for _ in range(first):
        next(batches)
    this_process = psutil.Process()
    processes = [this_process, *this_process.children(recursive=True)]

    def cpu() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    wall, before = time.perf_counter(), cpu()
    for _ in range(n):
        next(batches)
    return n * BATCH / (time.perf_counter() - wall), 1e3 * (cpu() - before) / (n * BATCH)


def our_stream(index: Index, sampling: Sampling, n: int, first: int = 4) -> tuple[float, float]:
    loader = PatchLoader(PatchStream(index, sampling, BATCH), workers=2)
    try:
        return rate(iter(loader), n, first)
    finally:
        loader.close()


def wsistream(paths: Sequence[str], n: int) -> tuple[float, float]:
    """Time wsistream with its fastest settings: slides stay open, cached masks, the cheap mask, uint8."""
    from torch.utils.data import DataLoader
    from wsistream.backends import OpenSlideBackend
    from wsistream.sampling import RandomSampler
    from wsistream.tissue import HSVTissueDetector
    from wsistream.torch import WsiStreamDataset

    dataset = WsiStreamDataset(
        list(paths), OpenSlideBackend(), HSVTissueDetector(), RandomSampler(256, target_mpp=0.25, tissue_threshold=0.4),
        patches_per_slide=10**9, cycle=True, tissue_mask_cache_size=64, seed=0, output_dtype="uint8",
    )  # fmt: skip
    return rate(iter(DataLoader(dataset, batch_size=BATCH, num_workers=2)), n)


def stream(path: Path, folder: Path, n: int, rounds: int) -> dict[str, Any]:
    """Time the whole stream with 2 workers: independent patches, and 16 from each region."""
    paths = [folder / f"slide{k}.svs" for k in range(4)]  # so that each worker has slides of its own
    for link in paths:
        link.symlink_to(path)
    index = build([str(link) for link in paths], folder / "four", "hsv", None, in_this_process)
    plain = Sampling(size=256, mpp=(0.25,))
    runs: dict[str, Callable[[], tuple[float, float]]] = {"ours": lambda: our_stream(index, plain, n)}
    if has("wsistream"):
        runs["wsistream"] = lambda: wsistream([str(link) for link in paths], n)
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, job in runs.items():
            results[name].append(job())
    median = {
        name: [round(statistics.median(c), 3) for c in zip(*rates, strict=True)] for name, rates in results.items()
    }
    out: dict[str, Any] = {name: {"patches_per_s": r, "cpu_ms": c} for name, (r, c) in median.items()}
    # the first batch of each of 16 lanes fills its buffer
    per_second, cpu = our_stream(index, Sampling(size=256, mpp=(0.25,), per_window=16), 32, first=20)
    out["ours_16_per_region"] = {"patches_per_s": round(per_second, 3), "cpu_ms": round(cpu, 3)}
    if "wsistream" in results:
        both = list(zip(results["ours"], results["wsistream"], strict=True))
        out["ratio_of_rates"] = round(statistics.median(a[0] / b[0] for a, b in both), 2)
        out["ratio_of_cpu"] = round(statistics.median(b[1] / a[1] for a, b in both), 2)
    return out


def remote(path: Path, index: Index, n: int) -> dict[str, Any]:
    """Time reading from blob storage that takes 30 ms to answer, with 64 requests in flight."""
    with Storage(path.parent, latency=0.03) as storage:
        os.environ |= {
            "AWS_ENDPOINT_URL": storage.address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        where = places(index, 256, (0.25,), n)
        with (
            index.open(0) as local,
            open_by("tiff", f"s3://slides/{path.name}", None, local.layout.to_bytes()) as slide,
        ):
            slide.read_many(where[:8])
            before, started = storage.counted(), time.perf_counter()
            slide.read_many(where)
            seconds = time.perf_counter() - started
            requests, sent = (b - a for a, b in zip(before, storage.counted(), strict=True))
        out = {"patches_per_s": n / seconds, "requests_per_patch": requests / n, "kb_per_patch": sent / n / 1e3}
        if has("tiffslide", "s3fs"):
            import s3fs
            import tiffslide

            files = s3fs.S3FileSystem(key="a", secret="b", client_kwargs={"endpoint_url": storage.address})
            with files.open(f"slides/{path.name}", cache_type="none") as file:
                other = tiffslide.TiffSlide(file)
                few = where[:20]
                started = time.perf_counter()
                for x, y, size, _ in few:
                    other.read_region((x, y), 0, (size, size), as_array=True)
                out["tiffslide_s3fs_patches_per_s"] = len(few) / (time.perf_counter() - started)
            out["ratio"] = out["patches_per_s"] / out["tiffslide_s3fs_patches_per_s"]
    return {name: round(value, 2) for name, value in out.items()}


def opening(index: Index) -> dict[str, float]:
    """Time opening a slide of the index, and reading the mask of a slide that is not in memory: milliseconds."""
    jobs = {"slide": lambda: index.open(0).close(), "mask": lambda: (index._masks.clear(), index.mask(0))}
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(50):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            spent[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(statistics.median(times), 2) for name, times in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path, nargs="?", help="slide to read; default: one that is made and kept")
    parser.add_argument("--patches", type=int, default=150)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    path = given.slide or Path(tempfile.gettempdir()) / "eva_bench" / "slide.svs"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        subprocess.run([sys.executable, MAKER, path.with_suffix(".part.svs")], check=True, stdout=sys.stderr)
        path.with_suffix(".part.svs").rename(path)
    with tempfile.TemporaryDirectory() as folder:
        index = build([str(path.resolve())], Path(folder) / "index", "hsv", None, in_this_process)
        results = {
            "against_others": readers(path, index, given.patches, given.turns),
            "opening_ms": opening(index),
            "stream": stream(path.resolve(), Path(folder), 20, max(1, given.turns // 2)),
            "remote": remote(path.resolve(), index, 4 * given.patches),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
