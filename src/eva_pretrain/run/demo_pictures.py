"""Pictures of the demo's page: which pattern a network tells at each place of a slide, and what it looks at."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from eva_core.contracts.backbone import Backbone
from eva_core.extraction.pixels import normalised
from eva_core.results.record import HEADS, read_heads
from eva_vision.datasets.phantom_patterns import PhantomPatterns
from eva_vision.heads.logreg import LogReg
from eva_vision.models.exported import exported
from eva_vision.slides.reading.open import open_slide
from eva_vision.slides.show import draw_overview, some_patches
from eva_vision.slides.tissue_detection import tissue_mask
from eva_vision.synthetic.patterns import CLASSES, pattern_map

COLOURS = ("#e69f00", "#0072b2", "#009e73", "#cc79a7")
"""Of the classes, apart for the colour-blind too (Okabe and Ito 2008)."""
AVERAGED = 5
"""Windows in a row and in a column whose answers are averaged."""
_STRIDE = 16
_TISSUE = 0.8  # of a window
_BATCH = 256
_SHOWN = 512  # side of a picture in pixels


class PatternMap(NamedTuple):
    """The patterns that a network with its head tells over a slide.

    Attributes:
        picture: uint8 RGB; white where there is no tissue.
        right: Share of the windows whose centre has that pattern.
    """

    picture: np.ndarray
    right: float


def pattern_maps(slide: Path, seed: int, models: Sequence[tuple[Path, Path]]) -> tuple[np.ndarray, list[PatternMap]]:
    """Ask networks for the pattern at each place of a slide of `write_pattern_slide`, each by the head of its result.

    A network sees windows as large as the patches that it was trained on, 16 px apart.

    Args:
        slide: The slide.
        seed: What it was drawn from.
        models: The export and the result of each.
    Returns:
        What was drawn as uint8 RGB, white where there is no tissue, and the map of each model.
    """
    networks = [exported(str(export)).eval() for export, _ in models]
    card = networks[0].card
    side, mpp = card.geometry.crop, card.mpp[0]
    with open_slide(slide) as opened:
        mask = tissue_mask(opened)
        full = opened.levels[0].width
        pixels = opened.thumbnail(round(full * opened.mpp / mpp))
        step = mpp / opened.mpp
    corners = np.arange(0, len(pixels) - side + 1, _STRIDE)
    tissue = np.array([[mask.share(x * step, y * step, side * step) for x in corners] for y in corners]) >= _TISSUE
    centres = np.minimum(((corners + side / 2) * step).astype(int), full - 1)
    truth = pattern_map(full, seed)[np.ix_(centres, centres)]
    before = side // 2 // _STRIDE
    border = (before, len(pixels) // _STRIDE - len(corners) - before)  # where no window has its centre
    maps = []
    for network, (_, result) in zip(networks, models, strict=True):
        told = told_patterns(embed_windows(network, pixels, side), result, tissue)
        maps.append(PatternMap(_painted(told, tissue, border), float((told == truth)[tissue].mean())))
    return _painted(truth, tissue, border), maps


@torch.no_grad()
def embed_windows(backbone: Backbone, pixels: np.ndarray, side: int) -> Tensor:
    """Embed windows of an image, 16 px apart.

    Args:
        backbone: In eval mode.
        pixels: uint8 RGB (H, W, 3).
        side: Side of a window in pixels.

    Returns:
        float32 (rows, columns, D).
    """
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    windows = image.unfold(1, side, _STRIDE).unfold(2, side, _STRIDE)  # (3, rows, columns, side, side)
    rows, columns = windows.shape[1:3]
    each = windows.permute(1, 2, 0, 3, 4).reshape(-1, 3, side, side)
    embedded = [backbone(normalised(batch.float().div_(255), backbone)) for batch in each.split(_BATCH)]
    return torch.cat(embedded).reshape(rows, columns, -1)


def told_patterns(embeddings: Tensor, result: Path, tissue: np.ndarray) -> np.ndarray:
    """Classes by the head of a result, its probabilities averaged over windows side by side.

    Args:
        embeddings: (rows, columns, D).
        result: Folder of a result of the head `logreg`.
        tissue: Windows that count, bool (rows, columns).

    Returns:
        int64 (rows, columns).
    """
    _, heads = read_heads(result / HEADS)
    params = {name: torch.from_numpy(value.copy()) for name, value in heads[0].items()}
    rows, columns, width = embeddings.shape
    logits = LogReg().logits(params, embeddings.reshape(-1, width))
    probabilities = logits.softmax(-1).reshape(rows, columns, -1) * torch.from_numpy(tissue)[..., None]
    summed = F.avg_pool2d(probabilities.permute(2, 0, 1)[None], AVERAGED, 1, AVERAGED // 2)[0]
    told: np.ndarray = summed.argmax(0).numpy()
    return told


def patients(dataset: PhantomPatterns, count: int) -> list[list[np.ndarray]]:
    """Draw a patch of each class of the first patients of the test split: uint8 RGB, by patient, then by class."""
    of_test = [sample for sample in dataset.samples if sample.split == "test"]
    per = len(CLASSES)
    return [[dataset.image(sample) for sample in of_test[n * per : (n + 1) * per]] for n in range(count)]


def thumbnail(slide: Path) -> np.ndarray:
    """A slide in small, uint8 RGB (H, W, 3)."""
    with open_slide(slide) as opened:
        return opened.thumbnail(_SHOWN)


def real_tissue(slide: Path, mpp: float, count: int) -> tuple[Image.Image, list[np.ndarray]]:
    """A slide with its tissue outlined and patches framed, and these patches, uint8 RGB.

    Args:
        slide: The slide.
        mpp: Micrometres per pixel of the patches.
        count: Number of patches.
    """
    with open_slide(slide) as opened:
        mask = tissue_mask(opened)
        patches = some_patches(opened, mask, mpp, count) or []
        return draw_overview(opened, mask, [(mpp, patches)]), [patch.pixels for patch in patches]


def as_uri(picture: np.ndarray | Image.Image, flat: bool = False) -> str:
    """A picture as the address of an `img`: a JPEG, or a PNG where it has few colours."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    content = io.BytesIO()
    if flat:
        image.save(content, "PNG", optimize=True)
    else:
        image.save(content, "JPEG", quality=88, optimize=True)
    return f"data:image/{'png' if flat else 'jpeg'};base64,{base64.b64encode(content.getvalue()).decode()}"


def _painted(classes: np.ndarray, tissue: np.ndarray, border: tuple[int, int]) -> np.ndarray:
    palette = np.array([[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in COLOURS], np.uint8)
    picture: np.ndarray = palette[classes]
    picture[~tissue] = 255
    return np.pad(picture, (border, border, (0, 0)), constant_values=255)
