"""One picture per image, to look at: image, truth, prediction and errors side by side, with a legend."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eva_core.files.atomic_files import write_bytes
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.features.tiles import rescale, rescale_labels

# Six of Okabe and Ito (Color Universal Design, 2008); then each as far as can be from those before it and from the
# colours of H&E, in OKLab, in normal vision and in protanopia and deuteranopia as simulated by Machado et al. 2009.
_PALETTE = (
    *("#009e73", "#f0e442", "#56b4e9", "#d55e00", "#0072b2", "#e69f00", "#0000ff", "#00ffcc", "#aa0022", "#8877ff"),
    *("#44cc88", "#88ddff", "#bb0077", "#3344bb", "#7788bb", "#006655", "#ff4466", "#11cccc", "#99dd77", "#55aaaa"),
)
_ERRORS = {"missed": "#0060d0", "spurious": "#f0a800", "confused": "#a02050"}  # dark, light and red: told apart by all
_GREYS = ((120, 120, 120), (190, 190, 190))
_INK, _PAPER = "#222222", "#ffffff"
_MOST_SIDE, _SMALL, _SLOT = 700, 512, 250  # of a panel, in pixels: shrunk above, enlarged up to; least width
_MOST_BYTES = 1_000_000
_MARGIN, _GAP, _SWATCH = 16, 10, 16
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_overlay(
    path: Path,
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    classes: Sequence[str],
    title: str,
    background: int | None,
) -> None:
    """Write the PNG, whole or not at all. Large images are shrunk so that it stays below 1 MB, small ones enlarged.

    In the errors, missed is a class where the prediction has background, spurious a class where the truth has
    background, confused one class instead of another; the legend says how large each is, in percent of the pixels that
    are not ignored. Beyond 20 classes colours repeat.

    Args:
        path: The file to write; its folder exists.
        image: uint8 RGB, (H, W, 3).
        truth: Classes, with `IGNORE` for pixels that do not count, uint8 (H, W).
        prediction: Classes, uint8 (H, W).
        classes: Their names.
        title: The first line; what does not fit is cut out of its middle.
        background: The class that is not drawn; None: all are.

    Raises:
        ValueError: The maps are not of the image's size, or hold labels outside the classes.
    """
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.shape != image.shape[:2]:
            raise ValueError(f"Expected a {name} of {image.shape[:2]} px like the image, but got {labels.shape}.")
        outside = np.setdiff1d(labels, [*range(len(classes)), IGNORE])
        if outside.size:
            raise ValueError(f"Expected a {name} with labels below {len(classes)}, but got {outside[0]}.")
    errors = _errors(truth, prediction, background)
    counted = max(1, int(np.count_nonzero(truth != IGNORE)))
    named = [(name, _colour(k, background)) for k, name in enumerate(classes) if k != background]
    kinds = [
        (f"{kind} {100 * np.count_nonzero(where) / counted:.1f} %", _ERRORS[kind]) for kind, where in errors.items()
    ]
    if (truth == IGNORE).any():
        kinds.append(("ignored", ""))
    longer = max(truth.shape)
    side = min(longer * max(1, _SMALL // longer), _MOST_SIDE)
    while True:
        panels = _panels(image, truth, prediction, errors, len(classes), background, side)
        content = io.BytesIO()
        _few_colours(_sheet(panels, named, kinds, title), named + kinds).save(content, "PNG", optimize=True)
        if content.tell() <= _MOST_BYTES or side <= 100:
            break
        side = int(side * min(0.95, (_MOST_BYTES / content.tell()) ** 0.5))
    write_bytes(path, content.getvalue())


def _errors(truth: np.ndarray, prediction: np.ndarray, background: int | None) -> dict[str, np.ndarray]:
    """Find where the kinds of error are, bool (H, W) each; without a background there is one kind."""
    wrong = (truth != prediction) & (truth != IGNORE)
    if background is None:
        return {"confused": wrong}
    missed, spurious = wrong & (prediction == background), wrong & (truth == background)
    return {"missed": missed, "spurious": spurious, "confused": wrong & ~missed & ~spurious}


def _panels(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    errors: dict[str, np.ndarray],
    classes: int,
    background: int | None,
    side: int,
) -> dict[str, np.ndarray]:
    """The four pictures by caption, uint8 (h, w, 3), with a longer side of `side` px."""
    scale = side / max(truth.shape)
    size = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
    image, truth, prediction = rescale(image, size), rescale_labels(truth, size), rescale_labels(prediction, size)
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    faded = _hatched(255 - 0.35 * (255 - grey), truth == IGNORE)
    thickness = 1 if scale < 1 else 2
    faded[_contours(truth, background, thickness)] *= 0.55
    for kind, where in errors.items():
        faded[rescale_labels(where, size)] = _rgb(_ERRORS[kind])
    return {
        "image": image,
        "truth": _coloured(image, truth, classes, background, thickness),
        "prediction": _coloured(image, prediction, classes, background, thickness),
        "errors": faded.astype(np.uint8),
    }


def _coloured(
    image: np.ndarray, labels: np.ndarray, classes: int, background: int | None, thickness: int
) -> np.ndarray:
    """Classes as translucent colours with contours over the image, background as it is: uint8 (h, w, 3)."""
    colours = np.zeros((256, 3), np.float32)
    strength = np.zeros(256, np.float32)
    for k in range(classes):
        colours[k] = _rgb(_colour(k, background))
        strength[k] = 0.0 if k == background else 0.4
    weight = strength[labels]
    weight[_contours(labels, background, thickness)] = 1
    mixed = image * (1 - weight[..., None]) + colours[labels] * weight[..., None]
    return _hatched(mixed, labels == IGNORE).astype(np.uint8)


def _contours(labels: np.ndarray, background: int | None, thickness: int) -> np.ndarray:
    """The pixels of a class, but not of the background, near another label: bool (h, w)."""
    edge = np.zeros(labels.shape, bool)
    for step in range(1, thickness + 1):
        down, right = labels[step:] != labels[:-step], labels[:, step:] != labels[:, :-step]
        edge[step:] |= down
        edge[:-step] |= down
        edge[:, step:] |= right
        edge[:, :-step] |= right
    contours: np.ndarray = edge & (labels != IGNORE) & (labels != (IGNORE if background is None else background))
    return contours


def _hatched(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Diagonal grey stripes over some pixels: a new float picture (h, w, 3)."""
    height, width = where.shape
    stripes = (np.arange(height)[:, None] + np.arange(width)) % 8 < 3
    grey = np.where(stripes[..., None], *(np.array(g, np.float32) for g in _GREYS))
    return np.where(where[..., None], 0.25 * picture + 0.75 * grey, picture).astype(np.float32)


def _colour(label: int, background: int | None) -> str:
    """Colour of a class; the background takes none, so that the first object class has the first colour."""
    return _PALETTE[(label - (background is not None and label > background)) % len(_PALETTE)]


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def _sheet(
    panels: dict[str, np.ndarray], named: list[tuple[str, str]], kinds: list[tuple[str, str]], title: str
) -> Image.Image:
    """Title, captioned panels in a row, the classes below all but the last, the kinds of error below the last."""
    large, small = ImageFont.load_default(20), ImageFont.load_default(16)
    height, width = next(iter(panels.values())).shape[:2]
    slot = max(width, _SLOT)
    places = [_MARGIN + k * (slot + _GAP) for k in range(len(panels))]
    total = places[-1] + slot + _MARGIN
    top = _MARGIN + 36 + 26
    below = top + height + 14
    legends = [
        (places[0], list(_wrapped(named, places[-1] - 2 * _GAP - places[0], small))),
        (places[-1], list(_wrapped(kinds, slot, small))),
    ]
    sheet = Image.new("RGB", (total, below + 26 * max(len(rows) for _, rows in legends) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), _shortened(title, total - 2 * _MARGIN, large), _INK, large)
    for x, (caption, panel) in zip(places, panels.items(), strict=True):
        draw.text((x, top - 24), caption, _INK, small)
        sheet.paste(Image.fromarray(panel), (x, top))
    for left, rows in legends:
        for k, row in enumerate(rows):
            x, y = left, below + 26 * k
            for name, colour in row:
                _swatch(sheet, x, y, colour)
                draw.text((x + _SWATCH + 6, y - 1), name, _INK, small)
                x += _wide(name, small)
    return sheet


def _few_colours(sheet: Image.Image, legend: list[tuple[str, str]]) -> Image.Image:
    """Reduce to 256 colours, enough to the eye at a third of the bytes; those of the legend stay as they are."""
    exact = list(dict.fromkeys((_INK, _PAPER, *(colour for _, colour in legend if colour))))
    pixels = np.array(sheet)
    codes = pixels.astype(np.int32) @ (65536, 256, 1)
    indices = np.zeros(codes.shape, np.uint8)
    for k, colour in enumerate(exact):
        indices[codes == int(colour[1:], 16)] = k
    others = ~np.isin(
        codes, [int(colour[1:], 16) for colour in exact]
    )  # by themselves, so that none becomes a colour of the legend
    reduced = Image.fromarray(pixels[others][None]).quantize(256 - len(exact), dither=Image.Dither.NONE)
    indices[others] = np.array(reduced)[0] + len(exact)
    result = Image.fromarray(indices, "P")
    palette = [level for colour in exact for level in _rgb(colour)] + (reduced.getpalette() or [])
    result.putpalette(palette[: 3 * 256])
    return result


def _swatch(sheet: Image.Image, x: int, y: int, colour: str) -> None:
    """A square of a colour; without one, of the stripes of ignored pixels."""
    if colour:
        square = Image.new("RGB", (_SWATCH, _SWATCH), colour)
    else:
        white = np.full((_SWATCH, _SWATCH, 3), 255, np.float32)
        square = Image.fromarray(_hatched(white, np.ones((_SWATCH, _SWATCH), bool)).astype(np.uint8))
    sheet.paste(square, (x, y))


def _wide(name: str, font: _Font) -> int:
    """Pixels that an entry of the legend takes."""
    return _SWATCH + 6 + int(font.getlength(name)) + 14


def _wrapped(entries: list[tuple[str, str]], width: int, font: _Font) -> Iterator[list[tuple[str, str]]]:
    """The entries in rows that fit a width."""
    row: list[tuple[str, str]] = []
    for entry in entries:
        if row and sum(_wide(name, font) for name, _ in [*row, entry]) > width:
            yield row
            row = []
        row.append(entry)
    if row:
        yield row


def _shortened(text: str, width: int, font: _Font) -> str:
    """The text, or as much of its two ends as fits."""
    length = len(text)
    short = text
    while length > 2 and font.getlength(short) > width:
        length -= 1
        short = f"{text[: length // 2]}...{text[len(text) - (length - length // 2) :]}"
    return short


def colours_of(classes: int, background: int | None) -> list[int]:
    """A palette for masks in PNG: red, green, blue of each class in turn; black for the background."""
    shown = [(0, 0, 0) if k == background else _rgb(_colour(k, background)) for k in range(classes)]
    return [level for colour in shown for level in colour]
