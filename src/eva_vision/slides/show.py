"""One slide to look at: its metadata, and a picture of its tissue and of patches at each magnification."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eva_core.errors import EvaError
from eva_core.files.atomic_files import make_folder, write_bytes
from eva_core.progress import quiet
from eva_vision.slides.reading.slide import Patch, Slide
from eva_vision.slides.sampler import Sampler, Sampling
from eva_vision.slides.sampling import COARSER
from eva_vision.slides.tissue_mask import TissueMask

MAGNIFICATIONS = {0.25: "40x", 0.5: "20x", 1.0: "10x", 2.0: "5x"}
_SIZE = 224
_PATCHES = 4
_SIDE = 900  # of the thumbnail at most
_LEAST = 700  # that a small slide is enlarged to
_MARGIN, _GAP, _LABEL, _CAPTION = 20, 8, 24, 18
_INK, _FAINT, _PAPER, _OUTLINE = "#222222", "#707070", "#ffffff", (0, 114, 178)
_COLOURS = {0.25: "#009e73", 0.5: "#d55e00", 1.0: "#0000ff", 2.0: "#000000"}


def describe(slide: Slide, mask: TissueMask) -> dict[str, str]:
    """Describe a slide: what is known of it, by name."""
    full = slide.levels[0]
    share = mask.area / (full.width * full.height * slide.mpp**2 * 1e-6)
    return {
        "slide": slide.path,
        "size": f"{full.width:,} x {full.height:,} px, {_millimetres(slide)}",
        "mpp": f"{slide.mpp:.4g} micrometres per pixel (about {10 / slide.mpp:.2g}x)",
        "levels": ", ".join(f"{n.width:,} x {n.height:,} (1/{n.downsample:.4g})" for n in slide.levels),
        "vendor": slide.vendor,
        "tissue": f"{mask.area:.4g} mm2, {share:.0%} of the slide, seen at {mask.mpp:.2g} micrometres per pixel",
        "reader": slide.description or slide.reader,
    }


def draw(slide: Slide, mask: TissueMask, path: Path) -> None:
    """Write the PNG, whole or not at all."""
    rows = [(mpp, patches) for mpp in MAGNIFICATIONS if (patches := some_patches(slide, mask, mpp)) is not None]
    overview = draw_overview(slide, mask, rows)
    large, small, tiny = (ImageFont.load_default(size) for size in (22, 15, 12))
    left = overview.width + 2 * _MARGIN
    top = _MARGIN + 62
    width = left + max(_PATCHES * (_SIZE + _GAP), 640) + _MARGIN
    height = max(overview.height, len(rows) * (_SIZE + _LABEL + _CAPTION + _GAP)) + top + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    full = slide.levels[0]
    pen.text((_MARGIN, _MARGIN), slide.name, _INK, large)
    levels = f"{len(slide.levels)} level{'s' * (len(slide.levels) > 1)}"
    facts = (
        f"{full.width:,} x {full.height:,} px   {_millimetres(slide)}   {slide.mpp:.4g} micrometres per pixel   "
        f"{slide.vendor}   {levels}   {mask.area:.4g} mm2 of tissue (outlined)"
    )
    pen.text((_MARGIN, _MARGIN + 32), facts, _FAINT, small)
    sheet.paste(overview, (_MARGIN, top))
    for mpp, patches in rows:
        _swatch(pen, left, top, _COLOURS[mpp])
        reads = sorted({f"level {p.level}" + (f", decoded at 1/{p.reduce}" if p.reduce > 1 else "") for p in patches})
        caption = f"{MAGNIFICATIONS[mpp]}   {mpp:g} micrometres per pixel   {_SIZE * mpp:.0f} micrometres wide   "
        pen.text(
            (left + 22, top), caption + ("; ".join(reads) if patches else "no place with enough tissue"), _INK, small
        )
        for k, patch in enumerate(patches):
            x = left + k * (_SIZE + _GAP)
            sheet.paste(Image.fromarray(patch.pixels), (x, top + _LABEL))
            share = mask.share(patch.x, patch.y, _SIZE * mpp / slide.mpp)
            pen.text((x, top + _LABEL + _SIZE + 1), f"x {patch.x:,}   y {patch.y:,}   {share:.0%} tissue", _FAINT, tiny)
        top += (_SIZE + _CAPTION + _GAP if patches else 0) + _LABEL
    content = io.BytesIO()
    sheet.crop((0, 0, width, max(top, overview.height + _MARGIN + 62) + _MARGIN)).save(content, "PNG", optimize=True)
    make_folder(path.parent)
    write_bytes(path, content.getvalue())


def some_patches(slide: Slide, mask: TissueMask, mpp: float, count: int = _PATCHES) -> list[Patch] | None:
    """Read patches of 224 px, as a sampler of seed 0 draws them: always the same of a slide.

    Args:
        slide: Where to read.
        mask: Its tissue.
        mpp: Micrometres per pixel.
        count: How many.
    Returns:
        The patches, an empty list where there is too little tissue, None where the slide is too coarse.
    """
    if slide.mpp > mpp * COARSER:
        return None
    described = [_Known(slide.name, slide.mpp, max(mask.area, 1e-9))]
    sampler = Sampler(described, lambda _: mask, Sampling(size=_SIZE, mpp=(mpp,)))
    try:
        with quiet():
            places = [sampler.place(n) for n in range(count)]
    except EvaError:
        return []
    return slide.read_many([(place.x, place.y, place.size, place.mpp) for place in places])


@dataclass(frozen=True)
class _Known:
    """A slide as the sampler needs to know it."""

    name: str
    mpp: float
    area: float


def draw_overview(slide: Slide, mask: TissueMask, rows: list[tuple[float, list[Patch]]]) -> Image.Image:
    """Draw the thumbnail with the outline of the tissue, what is none paler, and the frames of patches.

    Args:
        slide: The slide.
        mask: Its tissue.
        rows: Patches by their micrometres per pixel, one of `MAGNIFICATIONS`.
    """
    pixels = slide.thumbnail(_SIDE)
    enlarged = max(1, _LEAST // max(pixels.shape[:2]))
    thumbnail = Image.fromarray(pixels)
    thumbnail = thumbnail.resize((thumbnail.width * enlarged, thumbnail.height * enlarged), Image.Resampling.BICUBIC)
    tissue = np.asarray(Image.fromarray(mask.pixels).resize(thumbnail.size, Image.Resampling.NEAREST))
    picture = np.asarray(thumbnail).astype(np.float32)
    picture[~tissue] = 0.6 * picture[~tissue] + 0.4 * 235
    picture[_edge(tissue)] = _OUTLINE
    image = Image.fromarray(picture.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    scale = image.width / slide.levels[0].width
    for mpp, patches in rows:
        side = max(3.0, _SIZE * mpp / slide.mpp * scale)
        for patch in patches:
            x, y = patch.x * scale, patch.y * scale
            pen.rectangle((x, y, x + side, y + side), outline=_COLOURS[mpp], width=2)
    return image


def _edge(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask beside others, two wide: bool (H, W)."""
    edge = np.zeros(mask.shape, bool)
    for step in (1, 2):
        for axis in (0, 1):
            before, after = np.roll(mask, step, axis), np.roll(mask, -step, axis)
            edge |= mask & ~(before & after)
    return edge


def _millimetres(slide: Slide) -> str:
    full = slide.levels[0]
    return f"{full.width * slide.mpp / 1000:.3g} x {full.height * slide.mpp / 1000:.3g} mm"


def _swatch(pen: ImageDraw.ImageDraw, x: int, y: int, colour: str) -> None:
    pen.rectangle((x, y + 2, x + 13, y + 15), outline=colour, width=3)
