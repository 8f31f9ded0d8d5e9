"""A slide as a local file that is mostly a hole: for programs that want a file, but look at little of it."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from eva_core.errors import EvaError
from eva_vision.slides.reading import tiff_pyramid
from eva_vision.slides.reading.blobs import is_url, remote_file
from eva_vision.slides.reading.slide import Region
from eva_vision.slides.reading.tiff import TiffSlide
from eva_vision.slides.reading.tiff_directories import read_tiff


def sparse_copy(slide: TiffSlide, regions: Sequence[Region], path: Path, levels_alone: bool = False) -> None:
    """Write a file of the slide's size that holds its directories and the tiles of some regions.

    Args:
        slide: On disk or remote.
        regions: Whose tiles it has.
        path: The file.
        levels_alone: Leave directories that are no levels out of its chain.

    Raises:
        EvaError: The bytes cannot be had, or are those of another file by now.
    """
    with cast(BinaryIO, remote_file(slide.path) if is_url(slide.path) else open(slide.path, "rb")) as file:
        tiff = read_tiff(file, slide.path)
        if tiff is None:
            raise EvaError(f"Expected the TIFF that {slide.path} was, but it is none now. Open the slide again.")
        with path.open("wb") as out:
            out.truncate(slide.layout.size)
            for start, stop in tiff.spans():
                file.seek(start)
                out.seek(start)
                out.write(file.read(stop - start))
            if levels_alone:
                pages = sorted(tiff_pyramid.levels(tiff, slide.vendor), key=lambda page: page.index)
                for page, after in zip(pages, [page.offset for page in pages[1:]] + [0], strict=True):
                    out.seek(page.link)
                    out.write(struct.pack(f"{tiff.order}{'Q' if tiff.big else 'I'}", after))
            spans = [span for region in regions for span in slide.tiles_under(*region)[1]]
            for (start, _), data in zip(spans, slide.source.ranges(spans), strict=True):
                out.seek(start)
                out.write(data)
