"""Synthetic patches and slide of phantom tissue, made in seconds and about as costly to decode as real ones."""

from pathlib import Path

import numpy as np
from PIL import Image

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_vision.slides import open_slide
from eva_vision.synthetic.patches import CLASSES, phantom_patch, random_stain
from eva_vision.synthetic.slides import write_phantom_slide

SLIDE, PATCHES, SIDE = "slide.svs", "patches", 256


def make(folder: Path, patches: int, side: int) -> None:
    """Write `patches` JPEG files of 256 px, and a slide of `side` x `side` px at 0.25 micrometres per pixel."""
    (folder / PATCHES).mkdir(parents=True, exist_ok=True)
    write_phantom_slide(folder / SLIDE, side, side)
    rng = np.random.default_rng(0)
    for number in range(patches):
        image = Image.fromarray(phantom_patch(number % len(CLASSES), rng, random_stain(rng), SIDE))
        image.save(folder / PATCHES / f"{number}.jpg", quality=90)


class JpegPatches(Dataset):
    """Dataset of a number of images, which repeats those of the folder."""

    def __init__(self, folder: Path, images: int) -> None:
        self._jpegs = sorted((folder / PATCHES).glob("*.jpg"))
        self.card = DatasetCard(name="gpu_bench_jpeg", classes=CLASSES, synthetic=True)
        self.samples = [Sample(f"{n:06}", "train", n % len(CLASSES), bytes=n) for n in range(images)]

    def image(self, sample: Sample) -> np.ndarray:
        with Image.open(self._jpegs[sample.bytes % len(self._jpegs)]) as image:
            return np.asarray(image.convert("RGB"))


class SlidePatches(Dataset):
    """Dataset of a number of patches of 224 px at 0.5 micrometres per pixel, which repeats a grid over the slide."""

    def __init__(self, folder: Path, images: int) -> None:
        self.path, self._slide = str(folder / SLIDE), None
        self.card = DatasetCard(name="gpu_bench_slide", classes=CLASSES, mpp=0.5, synthetic=True)
        self.samples = [Sample(f"{n:06}", "train", n % len(CLASSES), bytes=n) for n in range(images)]

    def image(self, sample: Sample) -> np.ndarray:
        if self._slide is None:  # opened in the worker that reads
            self._slide = open_slide(self.path)
        side = self._slide.levels[0].width // 512
        row, column = divmod(sample.bytes % side**2, side)
        return self._slide.read(column * 512, row * 512, 224, 0.5)
