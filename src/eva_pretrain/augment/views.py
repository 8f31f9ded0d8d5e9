"""Views: the crops that student and teacher see of a patch, their settings, and the whole pipeline.

Crop, flips and turn, RandStainNA, stain, colour jitter, grey, blur, solarise, normalise, in this order, on the device
of the patches.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from eva_core.errors import UsageError, refuse
from eva_pretrain.augment.blur import blur, draw_sigma
from eva_pretrain.augment.colour import Jitter, draw_jitter, rotate_hue, scale_colour, solarise
from eva_pretrain.augment.crops import Taps, columns, draw_boxes, longest, other_magnification, resample, taps
from eva_pretrain.augment.randstainna import Restyle, colour_statistics, draw_restyle, restyle
from eva_pretrain.augment.stain import Stain, draw_stain, jitter_stain

_BLOCK = 2**17  # pixels of crops that are processed at a time on a CPU, to stay in its cache


@dataclass(frozen=True)
class Views:
    """Settings of the views of a patch.

    The defaults are DINOv2's (facebookresearch/dinov2 @ b8931f7), except for vertical flips, mean and std, and the rate
    of blur, which is as written there and not as applied.

    Attributes:
        global_size: Side of a global crop in pixels, a multiple of the ViT's patch size.
        local_size: Side of a local crop in pixels; 98 for patch size 14.
        local_crops: Number of local crops; there are always two global ones.
        global_scale: Area of a global crop, least and greatest, as a share of `relative_to`; DINO: 0.4-1.
        local_scale: Area of a local crop, least and greatest, as a share of `relative_to`; DINO: 0.05-0.4.
        aspect: Width / height of a crop before it is resized, least and greatest; as torchvision.
        relative_to: Area that scales are a share of: the `patch`, or the `crop` in its final size, which keeps the
            magnification nearly as it was. Extended context is patches of 392, crops of 224, scale 0.9-1.1 (Virchow2,
            Zimmermann et al. 2024).
        horizontal: Probability of a flip left to right.
        vertical: Probability of a flip upside down; DINO and DINOv2: 0, but tissue has no upright.
        turn: Probability of a turn by 90, 180 or 270 degrees, each alike; 0.75 makes all four orientations alike.
        cross: Probability that a local crop shows the centre of a global crop of its patch at another magnification:
            the student sees one, the teacher the other.
        cross_mpp: Micrometres per pixel of such a crop, as a share of those of the global crop, least and greatest,
            log-uniform; less where the patch ends.
        jitter: Probability of the four below together.
        brightness: The factor is uniform in 1 +- this.
        contrast: The factor is uniform in 1 +- this.
        saturation: The factor is uniform in 1 +- this.
        hue: Turn of the hue, uniform in +- this, at most 0.5.
        grey: Probability of a grey crop.
        blur: Probability of blur in the first global, second global and local crops.
        blur_official: Blur with 1 - p, the mistake in DINOv2's code: 0, 0.9, 0.5 where 1, 0.1, 0.5 is written.
        solarise: Probability of solarising the first global, second global and local crops. Pathology: 0.
        stain: Strength of the HED jitter, 0 for none: 0.05 is light, 0.2 strong (Tellez et al. 2019).
        stain_space: Unit of the stains. Those other than `od` serve to reproduce published work.
        randstainna: Probability of RandStainNA: mean and deviation of the colours in CIE Lab are drawn from what the
            patches of the batch have (Shen et al. 2022).
        mean: Mean of red, green, blue in 0-1 to subtract; kaiko: 0.5; DINO and DINOv2: ImageNet's 0.485, 0.456, 0.406.
        std: Standard deviation of red, green, blue to divide by; ImageNet's is 0.229, 0.224, 0.225.
    """

    global_size: int = 224
    local_size: int = 96
    local_crops: int = 8
    global_scale: tuple[float, float] = (0.32, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.32)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    relative_to: Literal["patch", "crop"] = "patch"
    horizontal: float = 0.5
    vertical: float = 0.5
    turn: float = 0.0
    cross: float = 0.0
    cross_mpp: tuple[float, float] = (0.5, 2.0)
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    blur_official: bool = False
    solarise: tuple[float, float, float] = (0.0, 0.2, 0.0)
    stain: float = 0.0
    stain_space: Literal["od", "tellez", "skimage"] = "od"
    randstainna: float = 0.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        most = 1.0 if self.relative_to == "patch" else math.inf
        shares = "two shares above 0, the lesser first" + (", at most 1" if most == 1 else "")
        for names, right, what in (
            (("global_size", "local_size"), lambda v: v >= 5, "at least 5"),
            (("local_crops",), lambda v: v >= 0, "at least 0"),
            (("relative_to",), lambda v: v in ("patch", "crop"), "patch or crop"),
            (("stain_space",), lambda v: v in ("od", "tellez", "skimage"), "od, tellez or skimage"),
            (("global_scale", "local_scale"), lambda v: len(v) == 2 and 0 < v[0] <= v[1] <= most, shares),
            (
                ("aspect", "cross_mpp"),
                lambda v: len(v) == 2 and 0 < v[0] <= v[1] < math.inf,
                "two ratios above 0, the lesser first",
            ),
            (
                ("horizontal", "vertical", "turn", "cross", "jitter", "grey", "randstainna"),
                lambda v: 0 <= v <= 1,
                "a probability, 0 to 1",
            ),
            (
                ("blur", "solarise"),
                lambda v: len(v) == 3 and all(0 <= p <= 1 for p in v),
                "three probabilities, 0 to 1",
            ),
            (("brightness", "contrast", "saturation"), lambda v: 0 <= v <= 100, "0 to 100"),
            (("hue",), lambda v: 0 <= v <= 0.5, "0 to 0.5"),
            (("stain",), lambda v: 0 <= v < 1, "at least 0 and below 1"),
            (("mean",), lambda v: len(v) == 3 and all(0 <= m <= 1 for m in v), "three numbers of 0 to 1"),
            (("std",), lambda v: len(v) == 3 and all(0 < s < math.inf for s in v), "three numbers above 0"),
        ):
            for name in names:
                value = getattr(self, name)
                refuse((not right(value), f"{name} to be {what}", value), where="views")


@dataclass(frozen=True)
class Crops:
    """Crops of B patches, crop-major: all patches of crop 0, then of crop 1, ...

    Iterating gives those that the student sees: `global_`, then `local`.

    Attributes:
        global_: Global crops, normalised float32 (2 B, 3, G, G).
        local: Local crops, normalised float32 (L B, 3, l, l); (0, 3, l, l) without any.
        large: The global crops in another size, without blur, (2 B, 3, size, size); None where none was asked for.
    """

    global_: Tensor
    local: Tensor
    large: Tensor | None = None

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.global_, self.local))


class _Kind(NamedTuple):
    """Crops of one size, one for each rate of blur and of solarise."""

    size: int
    scale: tuple[float, float]
    blurred: tuple[float, ...]
    solarised: tuple[float, ...]


class _Places(NamedTuple):
    """Boxes of N crops, int64 (4, N), at most `longest` pixels wide and high, and how each is flipped and turned."""

    boxes: Tensor
    mirrored: Tensor
    inverted: Tensor
    turned: Tensor | None
    longest: int

    def taps(self, size: int) -> tuple[Taps, Taps]:
        """Compute the weights along x and y of crops of a size in pixels."""
        x, y, width, height = self.boxes
        return (
            taps(x, width, self.mirrored, size, self.longest),
            taps(y, height, self.inverted, size, self.longest),
        )


class _Drawn(NamedTuple):
    """Random numbers of N crops, with N rows each; None where the settings need none."""

    source: Tensor
    across: Taps
    down: Taps
    turned: Tensor | None
    restyle: Restyle | None
    stain: Stain | None
    jitter: Jitter | None
    sigma: Tensor | None
    solarised: Tensor | None


@torch.no_grad()
def make_crops(
    pixels: Tensor, views: Views, generator: torch.Generator | None = None, large: int | None = None
) -> Crops:
    """Draw and compute the crops of a batch, on the device of the patches and without waiting for it.

    Random numbers are drawn in this order, for the global crops and then for the local ones: boxes, flips,
    magnification, turns, RandStainNA, stain, jitter with grey, blur, solarise; those that the settings do not need are
    not drawn. The same state of the generator gives the same crops.

    Args:
        pixels: Patches, uint8 (B, 3, S, S).
        views: The settings.
        generator: Generator on the device of the patches; None is the default one.
        large: Side in pixels in which the global crops are computed a second time, with the same boxes, flips, turns
            and colours; no number is drawn for it. These are not blurred: their detail is what they are for, and blur
            would take it, of whatever width. None: they are not.

    Raises:
        UsageError: The patches are not square RGB in uint8, or smaller than the settings need.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.shape[2] != pixels.shape[3]:
        raise UsageError(
            f"Expected uint8 patches (B, 3, S, S), but got {pixels.dtype} {tuple(pixels.shape)}. Cut them square."
        )
    blurred = tuple(1 - p for p in views.blur) if views.blur_official else views.blur
    kinds = (
        _Kind(views.global_size, views.global_scale, blurred[:2], views.solarise[:2]),
        _Kind(
            views.local_size,
            views.local_scale,
            blurred[2:] * views.local_crops,
            views.solarise[2:] * views.local_crops,
        ),
    )
    with torch.autocast(pixels.device.type, enabled=False):  # which would take the sums to bf16
        patches = columns(pixels)
        style = colour_statistics(pixels.float().div_(255)) if views.randstainna else None
        places = _places(patches, kinds[0], views, None, generator)
        drawn = _draw(patches, kinds[0], views, places, style, generator)
        global_, again = _computed(patches, drawn, views), None
        if large is not None:
            across, down = places.taps(large)
            again = _computed(patches, drawn._replace(across=across, down=down, sigma=None), views)
        if not views.local_crops:
            return Crops(global_, patches.new_empty((0, 3, views.local_size, views.local_size)), again)
        places = _places(patches, kinds[1], views, places.boxes, generator)
        drawn = _draw(patches, kinds[1], views, places, style, generator)
        return Crops(global_, _computed(patches, drawn, views), again)


def _computed(patches: Tensor, drawn: _Drawn, views: Views) -> Tensor:
    """Compute normalised crops (N, 3, size, size) from patches as `columns` gives them, crop-major."""
    n, size = drawn.across.pixel.shape[:2]
    crops = patches.new_empty((n, 3, size, size))
    block = max(1, _BLOCK // size**2) if patches.device.type == "cpu" else max(1, n)
    mean, gain = (
        torch.tensor(v).to(patches.device, non_blocking=True)[:, None, None]
        for v in (views.mean, [1 / s for s in views.std])
    )
    for start in range(0, n, block):
        rows = slice(start, start + block)
        x = _seen(patches, _at(drawn, rows), views)
        torch.mul(x.sub_(mean), gain, out=crops[rows])
    return crops


def _places(
    patches: Tensor, kind: _Kind, views: Views, anchors: Tensor | None, generator: torch.Generator | None
) -> _Places:
    """Draw the places of all crops of a kind; `anchors` are the boxes of the global crops, for the local ones."""
    b, side, device = len(patches), patches.shape[2], patches.device
    n = b * len(kind.blurred)
    area = float(side**2 if views.relative_to == "patch" else kind.size**2)
    if math.sqrt(area * kind.scale[0]) > side:
        raise UsageError(
            f"Expected patches of at least {math.ceil(math.sqrt(area * kind.scale[0]))} px for crops of {kind.size} px "
            f"at scale {kind.scale[0]}, but got {side} px. Raise the size of the patches or lower the scale."
        )
    boxes = draw_boxes(n, side, area, kind.scale, views.aspect, generator, device)
    flips = torch.rand((2, n), generator=generator, device=device)
    most = longest(side, area, kind.scale, views.aspect)
    if anchors is not None and views.cross:
        # the first global crop for the first local one, the second for the second, the first again, ...
        seen = torch.cat([anchors[:, (crop % 2) * b : (crop % 2 + 1) * b] for crop in range(len(kind.blurred))], 1)
        unit = kind.size / views.global_size
        others = other_magnification(seen, unit, views.cross_mpp, side, generator)
        chosen = torch.rand(n, generator=generator, device=device) < views.cross
        boxes = torch.where(chosen, others, boxes)
        global_area = float(side**2 if views.relative_to == "patch" else views.global_size**2)
        widest = unit * views.cross_mpp[1] * longest(side, global_area, views.global_scale, views.aspect)
        most = max(most, min(side, math.ceil(widest)))
    mirrored, inverted, turned = flips[0] < views.horizontal, flips[1] < views.vertical, None
    if views.turn:
        quarters = _quarters(n, views.turn, generator, device)
        # a quarter turn is a mirror and a transposition, a half turn two mirrors
        mirrored = mirrored ^ ((quarters == 1) | (quarters == 2))
        inverted = inverted ^ (quarters >= 2)
        turned = quarters % 2 == 1
    return _Places(boxes, mirrored, inverted, turned, most)


def _draw(
    patches: Tensor,
    kind: _Kind,
    views: Views,
    places: _Places,
    style: tuple[Tensor, Tensor] | None,
    generator: torch.Generator | None,
) -> _Drawn:
    """Draw the random numbers of a kind but for its places, in the order that `make_crops` promises.

    `style` is from `colour_statistics`.
    """
    b, device = len(patches), patches.device
    n = b * len(kind.blurred)
    source = torch.arange(b, device=device).repeat(len(kind.blurred))
    strengths = (views.hue, views.brightness, views.contrast, views.saturation)
    across, down = places.taps(kind.size)
    return _Drawn(
        source=source,
        across=across,
        down=down,
        turned=places.turned,
        restyle=draw_restyle(*style, source, views.randstainna, generator) if style is not None else None,
        stain=draw_stain(n, views.stain, views.stain_space, generator, device) if views.stain else None,
        jitter=draw_jitter(n, views.jitter, strengths, views.grey, generator, device)
        if views.jitter or views.grey
        else None,
        sigma=torch.cat([draw_sigma(b, rate, generator, device) for rate in kind.blurred])
        if any(kind.blurred)
        else None,
        solarised=torch.cat([torch.rand(b, generator=generator, device=device) < rate for rate in kind.solarised])
        if any(kind.solarised)
        else None,
    )


def _quarters(n: int, rate: float, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw quarter turns counter-clockwise, 0 to 3, int64 (n,): 0 with probability 1 - rate, the others alike."""
    u = torch.rand(n, generator=generator, device=device)
    return torch.where(u < rate, 1 + (3 * u / rate).long().clamp(max=2), 0)


def _at(drawn: Any, rows: slice) -> Any:
    """Select the rows of some crops from the random numbers of all."""
    if isinstance(drawn, tuple):
        return type(drawn)(*(_at(part, rows) for part in drawn))
    return None if drawn is None else drawn[rows]


def _seen(patches: Tensor, drawn: _Drawn, views: Views) -> Tensor:
    """Compute crops (N, 3, size, size) in 0-1."""
    x = resample(patches, drawn.source, drawn.across, drawn.down)
    if drawn.turned is not None:
        x = torch.where(drawn.turned[:, None, None, None], x.mT, x).contiguous()
    if drawn.restyle is not None:
        x = restyle(x, *drawn.restyle)
    if drawn.stain is not None:
        x = jitter_stain(x, *drawn.stain, views.stain_space)
    if drawn.jitter is not None:
        hue, *factors = drawn.jitter
        x = scale_colour(rotate_hue(x, hue), *factors)
    if drawn.sigma is not None:
        x = blur(x, drawn.sigma)
    return x if drawn.solarised is None else solarise(x, drawn.solarised)
