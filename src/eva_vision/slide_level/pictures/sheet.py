"""One picture of a slide: its thumbnail, a heat map over its patches with a scale, and the patches at both ends."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eva_core.files.atomic_files import write_bytes

_WIDE, _HIGH, _LEAST = 520, 620, 420
"""Most width and height of a thumbnail; small ones are enlarged to the least longer side."""
_PATCH, _CAPTION, _GAP, _MARGIN, _BAR = 150, 18, 10, 18, 14
_INK, _SOFT, _PAPER = "#222222", "#666666", "#ffffff"
_STRENGTH = 0.72
"""Share of the colour over the thumbnail."""
_MOST_OCTAVES, _GLASS = 4, 240


@dataclass(frozen=True)
class Scale:
    """How values become colours.

    Attributes:
        name: What the values are.
        low: Value of the first colour.
        high: Value of the last.
        logarithmic: Whether equal factors are equal steps.
    """

    name: str
    low: float
    high: float
    logarithmic: bool = False

    def places(self, values: np.ndarray) -> np.ndarray:
        """Where values lie on the scale, from 0 to 1; those beyond its ends at the ends."""
        ends = np.array([self.low, self.high])
        if self.logarithmic:
            values, ends = np.log2(np.maximum(values, 1e-12)), np.log2(ends)
        places: np.ndarray = np.clip((values - ends[0]) / max(ends[1] - ends[0], 1e-12), 0, 1)
        return places

    def colours(self, values: np.ndarray) -> np.ndarray:
        """Colours of values, (n,) -> uint8 (n, 3)."""
        colours: np.ndarray = (mpl.colormaps["viridis"](self.places(values))[..., :3] * 255).round().astype(np.uint8)
        return colours


def attention_scale(values: np.ndarray) -> Scale:
    """A scale of attention in factors of the average: as far as the values go, by whole octaves, at most four a side.

    Examples:
        >>> scale = attention_scale(np.array([0.3, 1.0, 2.9]))
        >>> scale.low, scale.high
        (0.25, 4.0)
    """
    octaves = np.clip(np.log2(np.maximum(values, 1e-12)), -_MOST_OCTAVES, _MOST_OCTAVES)
    low, high = min(-1.0, float(np.floor(octaves.min()))), max(1.0, float(np.ceil(octaves.max())))
    return Scale("attention, 1: the average patch", 2**low, 2**high, True)


@dataclass(frozen=True)
class Patch:
    """A patch to show: pixels, uint8 (H, W, 3), and a line below it."""

    pixels: np.ndarray
    line: str


def heat_map(
    thumbnail: np.ndarray, coords: np.ndarray, side: float, colours: np.ndarray, slide_width: int
) -> np.ndarray:
    """A thumbnail in grey with the squares of patches in their colours, uint8 (H, W, 3).

    Args:
        thumbnail: uint8 (H, W, 3).
        coords: Corners in level-0 pixels, (n, 2).
        side: Side of a patch in level-0 pixels.
        colours: uint8 (n, 3).
        slide_width: Width of the slide in level-0 pixels.
    """
    scale = thumbnail.shape[1] / slide_width
    grey = np.repeat(thumbnail.mean(axis=2, keepdims=True), 3, axis=2)
    picture = 255 - 0.6 * (255 - grey)
    starts = np.floor(coords * scale + 0.5).astype(int)
    stops = np.maximum(np.floor((coords + side) * scale + 0.5).astype(int), starts + 1)
    for (left, top), (right, bottom), colour in zip(starts.tolist(), stops.tolist(), colours, strict=True):
        square = picture[top:bottom, left:right]
        square[:] = (1 - _STRENGTH) * square + _STRENGTH * colour
    return picture.round().astype(np.uint8)


def write_sheet(
    path: Path,
    title: str,
    lines: Sequence[str],
    panels: Sequence[np.ndarray],
    scale: Scale,
    ends: dict[str, list[Patch]],
) -> None:
    """Write the PNG, whole or not at all.

    Args:
        path: The file to write; its folder exists.
        title: The first line.
        lines: Smaller ones below it.
        panels: The thumbnail and the heat map, of one size, uint8 (H, W, 3).
        scale: Scale of the heat map.
        ends: Patches by what they have in common, four of each at most.
    """
    large, small, tiny = (ImageFont.load_default(size) for size in (20, 14, 13))
    height, width = panels[0].shape[:2]
    top = _MARGIN + 32 + 20 * len(lines)
    columns = _MARGIN + 2 * (max(width, 300) + _GAP) + _GAP
    block = 2 * (_PATCH + _CAPTION) + 30
    total = columns + 2 * (_PATCH + _GAP) + _MARGIN
    bottom = max(top + height + 66, top + block * len(ends))
    sheet = Image.new("RGB", (total, bottom + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN - 4), fitted(title, total - 2 * _MARGIN, large), _INK, large)
    for n, line in enumerate(lines):
        pen.text((_MARGIN, _MARGIN + 26 + 20 * n), fitted(line, total - 2 * _MARGIN, small), _SOFT, small)
    for n, panel in enumerate(panels):
        sheet.paste(Image.fromarray(panel), (_MARGIN + n * (max(width, 300) + _GAP), top))
    _legend(sheet, pen, _MARGIN + max(width, 300) + _GAP, top + height + 10, max(width, 300), scale)
    for n, (name, patches) in enumerate(ends.items()):
        y = top + n * block
        pen.text((columns, y - 2), name, _INK, small)
        for k, patch in enumerate(patches):
            left, up = columns + k % 2 * (_PATCH + _GAP), y + 20 + k // 2 * (_PATCH + _CAPTION)
            sheet.paste(Image.fromarray(patch.pixels).resize((_PATCH, _PATCH), Image.Resampling.BICUBIC), (left, up))
            pen.text((left, up + _PATCH), fitted(patch.line, _PATCH, tiny), _SOFT, tiny)
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    write_bytes(path, content.getvalue())


def _legend(sheet: Image.Image, pen: ImageDraw.ImageDraw, x: int, y: int, width: int, scale: Scale) -> None:
    font = ImageFont.load_default(13)
    steps = np.linspace(0, 1, width)
    ends = np.log2([scale.low, scale.high]) if scale.logarithmic else np.array([scale.low, scale.high])
    values = ends[0] + steps * (ends[1] - ends[0])
    row = scale.colours(2**values if scale.logarithmic else values)
    row = ((1 - _STRENGTH) * _GLASS + _STRENGTH * row).round().astype(np.uint8)  # as over the thumbnail
    sheet.paste(Image.fromarray(np.repeat(row[None], _BAR, axis=0)), (x, y))
    ticks = 2 ** np.arange(ends[0], ends[1] + 0.5) if scale.logarithmic else np.linspace(ends[0], ends[1], 5)
    for tick, place in zip(ticks, scale.places(ticks), strict=True):
        text = f"{tick:.3g}" if not scale.logarithmic or tick >= 1 else f"1/{round(1 / tick)}"
        at = x + place * (width - 1)
        pen.line((at, y + _BAR, at, y + _BAR + 3), _SOFT)
        long = font.getlength(text)
        pen.text((min(max(at - long / 2, x), x + width - long), y + _BAR + 4), text, _SOFT, font)
    pen.text((x, y + _BAR + 20), fitted(scale.name, width, font), _INK, font)


def fitted(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a text as fits a width, with its end cut."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def sized(thumbnail: np.ndarray) -> np.ndarray:
    """A thumbnail as large as a panel: at most so wide and high, and at least so long."""
    height, width = thumbnail.shape[:2]
    factor = min(_WIDE / width, _HIGH / height)
    if factor >= 1:
        factor = min(factor, max(1.0, _LEAST / max(width, height)))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(thumbnail).resize(size, Image.Resampling.BICUBIC))
