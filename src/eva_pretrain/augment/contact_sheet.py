"""Contact sheet of the crops that the network sees, to look at before a long run."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from eva_core.files.atomic_files import make_folder
from eva_pretrain.augment.views import Crops, Views

_ROWS, _LOCAL = 8, 8  # patches at most, and local crops of each at most
_GAP, _TILE = 8, 224
_SMALL = (_TILE - _GAP) // 2  # local crops stand two high beside the large ones
_MARGIN, _HEADER = 16, 28
_INK, _PAPER = (60, 60, 60), (226, 226, 226)  # crops can be all white


def contact_sheet(pixels: Tensor, crops: Crops, views: Views, path: Path | str) -> None:
    """Write a PNG with a row for each of the first 8 patches: the patch, its global and up to 8 local crops.

    Args:
        pixels: Patches, uint8 (B, 3, S, S).
        crops: Crops of the same patches, from `make_crops`; the normalisation is taken back.
        views: The settings that they were made with.
        path: Destination; its folder is created.
    """
    b, rows, shown = len(pixels), min(len(pixels), _ROWS), min(views.local_crops, _LOCAL)
    across = (shown + 1) // 2
    small = f"local {views.local_size} px"
    labels = [
        f"patch {pixels.shape[3]} px",
        f"global {views.global_size} px",
        f"global {views.global_size} px",
        small if shown == views.local_crops else f"{small}, {shown} of {views.local_crops}",
    ]
    width = 2 * _MARGIN + 3 * _TILE + 2 * _GAP + across * (_SMALL + _GAP)
    sheet = Image.new("RGB", (width, _MARGIN + _HEADER + rows * (_TILE + _GAP) - _GAP + _MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, label in enumerate(labels[: 4 if shown else 3]):
        draw.text((_MARGIN + column * (_TILE + _GAP), _MARGIN), label, _INK, font)
    for row in range(rows):
        top = _MARGIN + _HEADER + row * (_TILE + _GAP)
        large = [pixels[row], *(_shown(crops.global_[crop * b + row], views) for crop in range(2))]
        for column, image in enumerate(large):
            sheet.paste(_tile(image, _TILE), (_MARGIN + column * (_TILE + _GAP), top))
        for crop in range(shown):
            left = _MARGIN + 3 * (_TILE + _GAP) + crop % across * (_SMALL + _GAP)
            tile = _tile(_shown(crops.local[crop * b + row], views), _SMALL)
            sheet.paste(tile, (left, top + crop // across * (_SMALL + _GAP)))
    path = Path(path)
    make_folder(path.parent)
    sheet.save(path, "PNG")


def _shown(crop: Tensor, views: Views) -> Tensor:
    """Pixels of a normalised crop, uint8 (3, H, W) on the CPU."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (views.mean, views.std))
    return (crop.cpu().float() * std + mean).mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def _tile(image: Tensor, side: int) -> Image.Image:
    drawn = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
    return drawn if drawn.width == side else drawn.resize((side, side), Image.Resampling.LANCZOS)
