"""A remote slide as a local file that is mostly a hole: for programs that want a file, but look at little of it."""

import io
from collections.abc import Sequence
from pathlib import Path

import tifffile

from eva_vision.slides.remote import Blob, Remembered
from eva_vision.slides.tiff import TiffSlide

Region = tuple[int, int, int, int, int, int]
"""Level, reduction, left, top, width and height, as `Slide._region` takes them."""


def sparse_copy(slide: TiffSlide, regions: Sequence[Region], path: Path) -> None:
    """A file of the slide's size that holds its directories and the tiles of some regions."""
    memory = Remembered(Blob(slide.path))
    with io.BufferedReader(memory) as file, path.open("wb") as out:
        with tifffile.TiffFile(file) as tiff:
            for page in tiff.pages:
                for tag in page.tags if isinstance(page, tifffile.TiffPage) else ():
                    _ = tag.value  # fetches it
        out.truncate(slide.layout.size)
        spans = [span for region in regions for span in slide._touched(*region)[1]]
        tiles = zip((start for start, _ in spans), Blob(slide.path).ranges(spans), strict=True)
        for start, data in [*memory.blocks, *tiles]:
            out.seek(start)
            out.write(data)
