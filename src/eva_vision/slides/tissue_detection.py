"""Tissue detection: masks at the scale of a thumbnail, from colour alone, and the share of tissue in a patch.

A detector is a function `(pixels: uint8 (H, W, 3), mpp: float) -> bool (H, W)`, registered in the group `eva.tissue`.
Ours first divide the glass out, so that a tinted background is white, then reject ink, then smooth.

The published thresholds of H&E (hue 90-180, saturation 8-255, value 103-255 on OpenCV's scale) are for the pixels of a
patch, see `patch_filter`. A pixel of a thumbnail is the mean over 8 micrometres: glass is as saturated as 8 by noise
alone, so 16 are asked; hue 90-118 is blue ink and 170-180 red ink, while mixed haematoxylin and eosin lie between; and
value 103 would cut out crowded epithelium, so dark regions are looked at as a whole (`_black`).
"""

from functools import partial

import numpy as np
from scipy import ndimage

from eva_core import registry
from eva_core.identity import qualified_name, version_of
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.tissue_mask import TissueMask

SHARE = 0.4
"""Share of a patch that must be tissue for it to be kept, as Kaiko's models were trained."""
VERSION = 1
"""Raise it whenever `hsv` or `otsu` find other tissue: masks that were made before are then not used any more."""
MPP = 8.0
"""Micrometres per pixel of a mask: the smallest patch in use, 224 px at 0.25, is 7 of its pixels wide."""
MOST_SIDE = 2048
"""Longer side of a mask in pixels: for slides longer than 16 mm, masks are coarser than `MPP`, to keep thousands."""
_SPECK = 0.005  # mm2, about a patch of 256 px at 0.25 micrometres per pixel: smaller pieces and holes are removed
_REACH, _HALF = 2, 12  # pixels to either side, for smoothing and round ink; half of such a box of 25
_SATURATION, _GLASS_SATURATION = 16, 25
_DARK, _DEEP, _DEEP_SHARE = 103, 48, 0.1
_INK_SATURATION, _BLUE_SATURATION = 60, 150


def tissue_mask(slide: Slide, method: str = "hsv") -> TissueMask:
    """Find the tissue of a slide, at about 8 micrometres per pixel.

    Args:
        slide: Its lowest level that is fine enough is read whole.
        method: A name of the group `eva.tissue`.

    Raises:
        UsageError: No such method.
        EvaError: The slide cannot be read.
    """
    detect = registry.tissue.load(method)
    full = slide.levels[0]
    longer = max(full.width, full.height)
    pixels = slide.thumbnail(max(1, min(MOST_SIDE, round(longer * slide.mpp / MPP), longer)))
    mpp = slide.mpp * longer / max(pixels.shape[:2])
    return TissueMask.of(detect(pixels, mpp), full.width, full.height, slide.mpp)


def described(method: str) -> str:
    """Describe a method: its function, with its parameters, and the scale of the masks.

    Raises:
        UsageError: No such method.
    """
    detect, parameters = registry.tissue.load(method), []
    while isinstance(detect, partial):
        parameters += [repr(value) for value in detect.args] + [
            f"{k}={v!r}" for k, v in sorted(detect.keywords.items())
        ]
        detect = detect.func
    name = f"{qualified_name(detect)} {version_of(detect)}"
    return f"{name} ({', '.join(parameters)}) at {MPP:g} micrometres per pixel, {MOST_SIDE} at most"


def hsv(pixels: np.ndarray, mpp: float) -> np.ndarray:
    """Find H&E by hue, saturation and value: uint8 (H, W, 3) -> bool (H, W)."""
    red, green, blue = planes = _planes(pixels)
    high, chroma = _value_and_chroma(*planes)
    hue = _stained(red, green, blue)
    ink = _ink(planes, high, chroma, hue)
    return clean(hue & (high >= _DEEP) & (chroma >= _SATURATION * high) & ~ink, ink, mpp)


def otsu(pixels: np.ndarray, mpp: float) -> np.ndarray:
    """Find H&E as `hsv` does, but saturated above the slide's own threshold, by Otsu (1979).

    Args:
        pixels: uint8 RGB (H, W, 3).
        mpp: Micrometres per pixel.
    Returns:
        bool (H, W).
    """
    red, green, blue = planes = _planes(pixels)
    high, chroma = _value_and_chroma(*planes)
    hue = _stained(red, green, blue)
    ink = _ink(planes, high, chroma, hue)
    saturation = (chroma // np.maximum(high, 1)).astype(np.uint8)
    threshold = _otsu(np.bincount(saturation[~ink], minlength=256))  # else ink is one class, and the rest the other
    return clean(hue & (high >= _DEEP) & (saturation > max(threshold, _SATURATION)) & ~ink, ink, mpp)


vars(hsv)["version"] = vars(otsu)["version"] = VERSION  # as `eva_core.identity.version_of` reads it


def patch_filter(pixels: np.ndarray, share: float = 0.6) -> bool:
    """Whether at least a share of a patch, uint8 (H, W, 3), has the colours of H&E.

    On OpenCV's scale hue 90-180, saturation 8-255, value 103-255, as Midnight was trained (Karasikov et al. 2025).
    """
    red, green, blue = (np.ascontiguousarray(pixels[..., channel]) for channel in range(3))
    high = np.maximum(np.maximum(red, green), blue)
    chroma = high - np.minimum(np.minimum(red, green), blue)
    # hue from 180 to 360 degrees: blue is not the least, and above green where red is the most
    hue = (blue > green) | ((blue == green) & (blue > red))
    return bool((hue & (chroma >= _LEAST_CHROMA[high]) & (high >= _DARK)).mean() >= share)


# What a saturation of 8 of 255 is in chroma, at each value; 7.5 rounds to 8
_LEAST_CHROMA = np.ceil(np.arange(256) * 7.5 / 255).astype(np.uint8).clip(1)


def clean(mask: np.ndarray, ink: np.ndarray, mpp: float) -> np.ndarray:
    """Smooth a mask, keep away from ink, and remove specks and holes below 0.005 mm2: bool (H, W) all."""
    ink = _boxed(_boxed(ink) > _HALF) > 0
    mask = (_boxed(mask) > _HALF) & ~ink
    speck = _SPECK * 1e6 / mpp**2
    labels, areas = _labelled(mask)
    pieces = (areas >= speck)[labels] & mask
    labels, areas = _labelled(~pieces)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        areas[edge] = np.iinfo(areas.dtype).max  # what goes on beyond the border is no hole
    inked = np.bincount(labels[ink], minlength=len(areas))
    holes = ((areas < speck) & (inked < 0.3 * areas))[labels]
    cleaned: np.ndarray = pieces | holes
    return cleaned


def _planes(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Red, green and blue as int16 (H, W), with the glass made neutral."""
    glass = _glass(pixels)
    red, green, blue = (
        np.minimum(255, np.arange(256) * (max(glass) / level) + 0.5).astype(np.int16)[
            np.ascontiguousarray(pixels[..., channel])
        ]
        for channel, level in enumerate(glass)
    )
    return red, green, blue


def _glass(pixels: np.ndarray) -> list[float]:
    """Median colour of the brightest quarter of what is nearly white; neutral where hardly anything is."""
    thinned = pixels[::8, ::8].reshape(-1, 3).astype(np.int16)
    high = thinned.max(1)
    white = thinned[(high >= 200) & (high - thinned.min(1) <= _GLASS_SATURATION)]
    if len(white) <= 0.005 * len(thinned):
        return [255.0, 255.0, 255.0]
    level = white.max(1)
    colour: list[float] = np.median(white[level >= np.percentile(level, 75)], axis=0).tolist()
    return colour


def _value_and_chroma(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The value, and 255 times the chroma: `chroma >= 16 * value` is a saturation of 16. uint16 (H, W) both."""
    high = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    return high.astype(np.uint16), (high - low).astype(np.uint16) * np.uint16(255)


def _stained(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Hue from 118 to 170 on OpenCV's scale, 236 to 340 degrees, without dividing."""
    purple: np.ndarray = (3 * (blue - green) >= red - green) & (15 * (green - red) <= blue - red)
    return purple


def _ink(
    planes: tuple[np.ndarray, np.ndarray, np.ndarray], high: np.ndarray, chroma: np.ndarray, hue: np.ndarray
) -> np.ndarray:
    """Red, green, blue or black ink, and black borders: bool (H, W)."""
    red, green, blue = planes
    coloured = ~hue & (chroma > _INK_SATURATION * high) & (high >= _DEEP)
    # bluer than any haematoxylin: hue below 135 at a saturation that only ink has
    bluish = (2 * (red - green) < blue - green) & (chroma > _BLUE_SATURATION * high)
    ink: np.ndarray = coloured | (bluish & hue) | _black(high)
    return ink


def _black(high: np.ndarray) -> np.ndarray:
    """Dark regions of which a part is nearly black: a pen or a border is, crowded epithelium is not."""
    dark = high < _DARK
    labels, count = ndimage.label((_boxed(dark) > 2)[::2, ::2])  # a quarter of the pixels joins the same regions
    if not count:
        return np.zeros_like(dark)
    labels = labels.repeat(2, axis=0).repeat(2, axis=1)[: dark.shape[0], : dark.shape[1]]
    labels[~dark] = 0
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    deep = np.bincount(labels[high < _DEEP], minlength=count + 1)
    black = deep > _DEEP_SHARE * areas
    black[0] = False
    pixels: np.ndarray = black[labels]
    return pixels


def _boxed(mask: np.ndarray) -> np.ndarray:
    """How many of the 5 x 5 pixels round each are True, the border repeated: uint8 (H, W) up to 25."""
    height, width = mask.shape
    padded = np.pad(mask.astype(np.uint8), _REACH, mode="edge")
    rows = sum((padded[k : k + height] for k in range(1, 2 * _REACH + 1)), start=padded[:height])
    return sum((rows[:, k : k + width] for k in range(1, 2 * _REACH + 1)), start=rows[:, :width])


def _labelled(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected regions from 1, (H, W), and their areas in pixels by label; that of label 0, the rest, is set to 0."""
    labels, count = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    return labels, areas


def _otsu(histogram: np.ndarray) -> int:
    """The level that parts a histogram into two classes of the greatest variance between them."""
    levels = np.arange(len(histogram))
    below = np.cumsum(histogram).astype(float)
    above = below[-1] - below
    sums = np.cumsum(histogram * levels).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nan_to_num(between).argmax())
