"""Stage (f): tiles of a slide decoded on the GPU, against the CPU reader."""

import importlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import simplejpeg
import torch

from eva_core.accelerator import is_gpu
from eva_vision.slides import open_slide
from gpu_stages.data import SLIDE
from gpu_stages.stage import Bench, Figures

TITLE = "Tiles of a slide (JPEG 4:2:0, 256 px): CPU against GPU; a patch of 256 px touches four"
COLUMNS = ("tiles_per_s", "patches_per_s", "largest_difference")
_TILES_OF_A_PATCH = 4


def streams(bench: Bench) -> list[bytes]:
    """Read the tiles of level 0 as whole JPEG streams."""
    if "streams" not in bench.memo:
        with open_slide(bench.data / SLIDE) as slide:
            tiles = slide.layout.tiles[0]
        data = (bench.data / SLIDE).read_bytes()
        places = zip(tiles.offsets.ravel().tolist(), tiles.counts.ravel().tolist(), strict=True)
        bench.memo["streams"] = [tiles.prefix + data[at + 2 : at + size] for at, size in places]
    return bench.memo["streams"]


def decoded(bench: Bench, decode: Callable[[Sequence[bytes]], Sequence[Any]]) -> Figures:
    """Time a decoder: tiles per second, and the largest difference of the first tile from the CPU's."""
    whole = streams(bench)
    first = torch.as_tensor(np.asarray(decode(whole[:1])[0])).int()
    expected = torch.from_numpy(simplejpeg.decode_jpeg(whole[0])).int()
    rate = len(whole) / bench.rate(lambda: decode(whole), bench.small(1, 5))
    return {
        "tiles_per_s": rate,
        "patches_per_s": rate / _TILES_OF_A_PATCH,
        "largest_difference": int((first - expected).abs().max()),
    }


def one_thread(bench: Bench) -> Figures:
    """Decode with simplejpeg, one thread."""
    return decoded(bench, lambda parts: [simplejpeg.decode_jpeg(part) for part in parts])


def all_threads(bench: Bench) -> Figures:
    """Decode with simplejpeg, a thread a core."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return decoded(bench, lambda parts: list(pool.map(simplejpeg.decode_jpeg, parts)))


def reader(bench: Bench) -> Figures:
    """Read patches with `open_slide` in one thread: reading, decoding and resizing."""
    with open_slide(bench.data / SLIDE) as slide:
        side = slide.levels[0].width // 256 - 1
        places = [
            (128 + 256 * (n % side), 128 + 256 * (n // side % side), 256, 0.25) for n in range(bench.small(4, 256))
        ]
        return {"patches_per_s": len(places) / bench.rate(lambda: slide.read_many(places), 2)}


def torchvision(bench: Bench) -> Figures:
    """Decode with nvJPEG through torchvision."""
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(parts: Sequence[bytes]) -> list[Any]:
        tensors = [torch.frombuffer(bytearray(part), dtype=torch.uint8) for part in parts]
        images = decode_jpeg(tensors, mode=ImageReadMode.RGB, device=bench.device)
        return [image.permute(1, 2, 0).cpu() if len(parts) == 1 else image for image in images]

    return decoded(bench, decode)


def nvimgcodec(bench: Bench) -> Figures:
    """Decode with nvImageCodec, where it is installed."""
    if not is_gpu(bench.device):
        return {"left_out": "needs a GPU"}
    try:
        codec = importlib.import_module("nvidia.nvimgcodec")
    except ImportError:
        return {"left_out": "no wheel: bring nvidia-nvimgcodec-cu13 and nvidia-nvjpeg"}
    decoder = codec.Decoder()

    def decode(parts: Sequence[bytes]) -> list[Any]:
        images = decoder.decode([codec.CodeStream(part) for part in parts])
        if any(image is None for image in images):
            raise RuntimeError("a tile did not decode")
        return [torch.as_tensor(image, device=bench.device).cpu() if len(parts) == 1 else image for image in images]

    return decoded(bench, decode)


ROWS = {
    "CPU, simplejpeg, 1 thread": one_thread,
    "CPU, simplejpeg, all cores": all_threads,
    "CPU, eva's reader, 1 thread": reader,
    "GPU, torchvision (nvJPEG)": torchvision,
    "GPU, nvImageCodec": nvimgcodec,
}
