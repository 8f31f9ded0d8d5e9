"""Pictures that belong to a result, as a page has them."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from eva_core.contracts.results import Picture
from eva_core.contracts.sections import Shown
from eva_core.errors import EvaError
from eva_core.reports.sources import Sources
from eva_core.reports.thumbnails import as_jpeg
from eva_core.results.record import read_result_file

WIDE = 1600
"""Most pixels of a picture from left to right."""


def shown_pictures(sources: Sources, pictures: Sequence[Picture]) -> list[Shown]:
    """Pictures of a result, each with its score and what it is of; one that is gone has no image."""
    items: list[Shown] = []
    for picture in pictures:
        try:
            image = _as_page_has_it(read_result_file(sources.folder, picture["file"], sources.results))
        except (EvaError, OSError, ValueError):  # a page without a picture is a page
            image = ""
        items.append({"image": image, "title": picture["which"], "lines": [f"{picture['score']:.3f}", picture["id"]]})
    return items


def _as_page_has_it(content: bytes) -> str:
    image = Image.open(io.BytesIO(content), formats=["PNG"]).convert("RGB")
    image.thumbnail((WIDE, 4 * WIDE))
    return as_jpeg(np.asarray(image), 80)
