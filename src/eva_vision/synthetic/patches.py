"""Procedural H&E-like patches: no tissue, no download. For the demo, tests and benchmarks.

A patch is two density fields, haematoxylin and eosin, that become RGB by the Beer-Lambert law under the stain of a
"patient". The classes differ in how nuclei are arranged; amounts of nuclei, lumen and stain overlap on purpose, and
up to two fifths of a patch may show another class. Scales are those of 0.5 micrometres per pixel.
"""

from dataclasses import dataclass

import numpy as np

CLASSES = ("stroma", "gland", "tumour", "inflammation")
MPP = 0.5
VERSION = 1
"""Raise it whenever the pixels change: it is part of the dataset's fingerprint."""

_STROMA, _GLAND, _TUMOUR, _INFLAMMATION = range(4)
_HAEMATOXYLIN = (0.60, 0.72, 0.34)
_EOSIN = (0.16, 0.86, 0.48)
_REACH = 12
"""Half the side of the window that a nucleus is drawn in, in pixels: no nucleus is longer than twice this."""


@dataclass(frozen=True)
class Stain:
    """How the slides of one patient were stained.

    Attributes:
        vectors: Optical density per unit of haematoxylin and of eosin, (2, 3) over red, green, blue.
        glass: Optical density of the empty slide, (3,).
    """

    vectors: np.ndarray
    glass: np.ndarray


def random_stain(rng: np.random.Generator) -> Stain:
    """A stain as laboratories differ: hue and strength vary by more than any class does."""
    vectors = np.array([_HAEMATOXYLIN, _EOSIN]) + rng.normal(0, 0.06, (2, 3))
    vectors /= np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    strength = np.exp(rng.uniform(-0.4, 0.4, (2, 1)))
    return Stain((vectors * strength).astype(np.float32), rng.uniform(0.01, 0.08, 3).astype(np.float32))


def phantom_patch(cls: int, rng: np.random.Generator, stain: Stain, size: int = 224) -> np.ndarray:
    """Draw one patch.

    Args:
        cls: Index into `CLASSES`.
        rng: Decides everything but the stain: the same state gives the same pixels.
        stain: The stain of the patient.
        size: Side in pixels.

    Returns:
        uint8 RGB, (size, size, 3).
    """
    flow, fibres = fibre_field(rng, size)
    patchy = value_noise(rng, size, 25)
    eosin = 0.40 + 0.13 * fibres + 0.06 * patchy
    eosin *= 1 - 0.9 * soft_step(patchy + 0.5 * fibres - rng.uniform(1.2, 2.4), 0.8)  # clefts between the fibres
    layers = np.stack([0.05 + 0.02 * patchy, eosin, np.ones_like(eosin)])  # haematoxylin, eosin, how much is stroma

    if cls in (_STROMA, _INFLAMMATION):
        _vessels(rng, layers)  # else white alone would tell a lumen

    territory = territories(rng, size, share=rng.uniform(0.0, 0.4))
    richness = rng.uniform(0.75, 1.3)  # how much nucleus a patch has, whatever its class
    nuclei = []
    for kind, owned in ((cls, territory), (int(rng.integers(len(CLASSES))), ~territory)):
        if kind == _STROMA:
            nuclei.append(within(owned & (layers[2] > 0.5), spindles(rng, flow, 0.16 * richness)))
        elif kind == _INFLAMMATION:
            nuclei.append(within(owned & (layers[2] > 0.5), lymphocytes(rng, 0.15 * richness, size)))
        else:
            nuclei.append(within(owned, _epithelium(rng, kind == _TUMOUR, richness, owned, layers)))
    stroma = layers[2] > 0.5
    nuclei += [within(stroma, spindles(rng, flow, 0.04)), within(stroma, lymphocytes(rng, 0.025, size))]

    return render(rng, layers[0], layers[1], draw_nuclei(rng, np.concatenate(nuclei), size), stain)


def render(
    rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray, nuclei: np.ndarray, stain: Stain
) -> np.ndarray:
    """Densities of tissue and of nuclei, (size, size) -> uint8 RGB (size, size, 3), with grain."""
    size = len(nuclei)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    grain += np.roll(grain, 1, 0)
    grain += np.roll(grain, 1, 1)
    haematoxylin = (haematoxylin + nuclei * (1 + 0.09 * grain)).clip(0)
    eosin = (eosin * (1 - 0.5 * np.minimum(nuclei, 1)) * (1 + 0.04 * grain + 0.08 * value_noise(rng, size, 5))).clip(0)

    image = np.empty((size, size, 3), np.uint8)
    for channel in range(3):
        purple, pink = stain.vectors[:, channel]
        optical = haematoxylin * purple + eosin * pink + stain.glass[channel]
        image[..., channel] = 255 * np.exp(-optical) + 0.5
    return image


def value_noise(rng: np.random.Generator, side: int, cell: float) -> np.ndarray:
    """Smooth value noise of about unit variance, float32 (side, side), with blobs of about `cell` pixels."""
    knots = rng.standard_normal((int(side / cell) + 2,) * 2, dtype=np.float32) * 1.6
    position = np.arange(side, dtype=np.float32) / np.float32(cell)
    low = position.astype(int)
    weight = position - np.floor(position)  # not `low`: float32 less int64 is float64, at twice the time
    weight = weight * weight * (3 - 2 * weight)
    rows = knots[:, low] + weight * (knots[:, low + 1] - knots[:, low])
    noise: np.ndarray = rows[low] + weight[:, None] * np.diff(rows, axis=0)[low]
    return noise


def soft_step(x: np.ndarray, width: float) -> np.ndarray:
    """A soft step from 0 to 1 at x = 0."""
    return np.clip(x / width + 0.5, 0, 1)


def fibre_field(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Wavy bundles that share a direction.

    Returns:
        The distance across the fibres in pixels and their brightness of about unit variance, both (side, side).
    """
    angle = rng.uniform(0, np.pi)
    position = np.arange(side, dtype=np.float32)
    across = np.float32(np.cos(angle)) * position[:, None] - np.float32(np.sin(angle)) * position
    flow = across + 9 * value_noise(rng, side, 60)
    profile = np.cumsum(rng.standard_normal((2, 24 * side), dtype=np.float32), axis=1)
    profile = (profile[:, 8:] - profile[:, :-8]) / np.float32(np.sqrt(8))  # a moving mean: no steps between pixels
    fine = ((flow + 2.5 * side) * 4).astype(int)
    coarse = ((flow + 5 * value_noise(rng, side, 35) + 2.5 * side) * 1.6).astype(int)
    return flow, 0.6 * profile[0].take(fine, mode="clip") + 0.8 * profile[1].take(coarse, mode="clip")


def territories(rng: np.random.Generator, side: int, share: float) -> np.ndarray:
    """A wobbly cut through the patch, bool (side, side): False on about `share` of the pixels."""
    angle = rng.uniform(0, 2 * np.pi)
    position = np.linspace(-1, 1, side, dtype=np.float32)
    height = (
        np.float32(np.cos(angle)) * position[:, None]
        + np.float32(np.sin(angle)) * position
        + 0.15 * value_noise(rng, side, 50)
    )
    return height > np.quantile(height[::8, ::8], share)


# Nuclei are rows (n, 6): x and y in pixels, half length and half width in pixels, direction in radians, density.


def within(region: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """The nuclei whose centre is in the patch and in a region, bool (side, side)."""
    side = len(region)
    nuclei = nuclei[((nuclei[:, :2] >= 0) & (nuclei[:, :2] < side)).all(axis=1)]
    inside: np.ndarray = nuclei[region[nuclei[:, 1].astype(int), nuclei[:, 0].astype(int)]]
    return inside


def scatter(rng: np.random.Generator, area: float, fraction: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Scatter points x, y on a jittered grid, so that shapes of `area` pixels cover `fraction` of the patch."""
    pitch = np.sqrt(area / fraction)
    n = int(np.ceil(side / pitch))
    grid = np.stack(np.meshgrid(np.arange(n), np.arange(n))).reshape(2, -1)
    x, y = (grid + rng.uniform(0, 1, grid.shape)) * pitch
    inside = (x < side) & (y < side)
    return x[inside], y[inside]


def spindles(rng: np.random.Generator, flow: np.ndarray, fraction: float) -> np.ndarray:
    """Slender nuclei along the fibres."""
    x, y = scatter(rng, 85, fraction, len(flow))
    i, j = y.astype(int), x.astype(int)
    up, left = np.maximum(i - 1, 0), np.maximum(j - 1, 0)
    along = np.arctan2(flow[i, left] - flow[i, j], flow[i, j] - flow[up, j])
    n = len(x)
    direction = along + rng.normal(0, 0.2, n)
    return np.stack([x, y, rng.uniform(7, 11.5, n), rng.uniform(2.2, 3.6, n), direction, rng.uniform(0.7, 1.1, n)], 1)


def lymphocytes(rng: np.random.Generator, fraction: float, side: int) -> np.ndarray:
    """Small round dark nuclei."""
    x, y = scatter(rng, 75, fraction, side)
    n = len(x)
    radius = rng.uniform(4.2, 5.6, n)
    turn = rng.uniform(0, np.pi, n)
    return np.stack([x, y, radius * rng.uniform(1, 1.25, n), radius, turn, rng.uniform(0.9, 1.3, n)], 1)


def outline(unit: np.ndarray, wobble: np.ndarray) -> np.ndarray:
    """Radius of a closed curve, relative to its mean, in the direction of complex numbers of length 1."""
    radius: np.ndarray = 1 + (unit * unit * (wobble[0] + wobble[1] * unit)).real
    return radius


def random_wobble(rng: np.random.Generator, amount: float) -> np.ndarray:
    """Second and third harmonic of an outline, complex (2,)."""
    harmonics: np.ndarray = amount * np.exp(2j * np.pi * rng.uniform(0, 1, 2))
    return harmonics.astype(np.complex64)


def disc(
    x: float, y: float, radius: float, wobble: np.ndarray, side: int
) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """The window around a wobbly disc and the distance from its centre there, 1 on the outline; None if outside."""
    reach = (1.1 + np.abs(wobble).sum()) * 1.05 * radius
    rows = slice(max(0, int(y - reach)), min(side, int(y + reach)))
    columns = slice(max(0, int(x - reach)), min(side, int(x + reach)))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    dx = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x)
    dy = np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(y)
    length = np.sqrt(dx * dx + (dy * dy)[:, None]) + np.float32(1e-3)
    towards = (dx + 1j * dy[:, None]) * (1 / length)
    return (rows, columns), length / (np.float32(radius) * outline(towards, wobble))


def _epithelium(
    rng: np.random.Generator, tumour: bool, richness: float, territory: np.ndarray, layers: np.ndarray
) -> np.ndarray:
    """Glands; in a tumour crowded, misshapen and with nuclei out of line. Changes the layers in place.

    The two differ by degree, and the degrees overlap.
    """
    side = len(territory)
    disorder = rng.uniform(0.35, 1.0) if tumour else rng.uniform(0.0, 0.45)
    radius = rng.uniform(32, 46)
    pitch = radius * (2.3 - 0.6 * disorder)
    cytoplasm = (rng.uniform(0.08, 0.2), rng.uniform(0.3, 0.45))
    n = int(np.ceil(side / pitch)) + 1
    offset = rng.uniform(-1, 0, 2)
    nuclei = [np.empty((0, 6))]
    for k in range(n * n):
        x, y = (np.array([k % n + 0.5 * (k // n % 2), k // n]) + offset + rng.normal(0, 0.1, 2)) * pitch
        if not territory[min(max(int(y), 0), side - 1), min(max(int(x), 0), side - 1)]:
            continue
        mean = radius * rng.uniform(0.8, 1.1)
        wobble = random_wobble(rng, 0.08 + 0.1 * disorder)
        where = disc(x, y, mean, wobble, side)
        if where is None:
            continue
        window, distance = where
        hole = rng.uniform(0.3, 0.55) * (1 - 0.6 * disorder)
        cell = soft_step(1 - distance, 0.08)
        faded = (1 - cell) * (1 - rng.uniform(0, 0.6) * soft_step(1.1 - distance, 0.15))  # stroma shrinks from glands
        cell *= soft_step(distance - hole, 0.12)
        for layer, value in zip(layers, (*cytoplasm, 0.0), strict=True):
            layer[window] = layer[window] * faded + value * cell

        count = int(2 * np.pi * mean * richness / 9 * (0.85 + 0.3 * disorder))
        turn = 2 * np.pi / max(count, 1) * (np.arange(count) + rng.normal(0, 0.1 + 2 * disorder, count))
        width = np.clip(rng.normal(3.5 + 0.3 * disorder, 0.2 + 0.6 * disorder, count), 2.5, 6)
        length = width * np.clip(rng.normal(1.8 - 0.3 * disorder, 0.25, count), 1.05, 2.2)
        depth = np.maximum(0.83 - np.abs(rng.normal(0, 0.02 + 0.25 * disorder, count)), hole + 0.14)
        towards = np.exp(1j * turn)
        point = mean * depth * outline(towards, wobble) * towards
        direction = rng.normal(turn, 0.1 + 0.5 * disorder)
        density = np.clip(rng.normal(0.85, 0.12, count), 0.5, 1.2)
        nuclei.append(np.stack([x + point.real, y + point.imag, length, width, direction, density], 1))
    return np.concatenate(nuclei)


def _vessels(rng: np.random.Generator, layers: np.ndarray) -> None:
    """Empty round spaces. Changes the layers in place."""
    side = layers.shape[1]
    for _ in range(rng.poisson(3 * (side / 224) ** 2)):
        x, y = rng.uniform(0, side, 2)
        where = disc(x, y, rng.uniform(8, 22), random_wobble(rng, 0.15), side)
        if where is not None:
            window, distance = where
            layers[(slice(None), *window)] *= soft_step(distance - 1, 0.15)


def draw_nuclei(rng: np.random.Generator, nuclei: np.ndarray, side: int) -> np.ndarray:
    """Haematoxylin of the nuclei, float32 (side, side): soft edges, a dark rim, a slightly bent outline."""
    canvas = np.zeros((side + 2 * _REACH,) * 2, np.float32)
    x, y, length, width, direction, density = nuclei.astype(np.float32).T[:, :, None, None]
    corner = nuclei[:, :2].astype(int)
    position = np.arange(-_REACH, _REACH, dtype=np.float32)
    dx = position - (x - np.trunc(x))  # (n, 1, 2 * _REACH)
    dy = position[:, None] - (y - np.trunc(y))  # (n, 2 * _REACH, 1)
    cos, sin = np.cos(direction), np.sin(direction)
    bend = rng.normal(0, 0.12, x.shape).astype(np.float32)
    u = (cos * dx + sin * dy) / length
    v = (cos * dy - sin * dx) / width + bend * u * u
    distance = np.sqrt(u * u + v * v)
    shape = soft_step((1 - distance) * width, 2.2) * (density * (0.75 + 0.35 * np.minimum(distance, 1)))
    for (left, top), nucleus in zip(corner, shape, strict=True):
        window = canvas[top : top + 2 * _REACH, left : left + 2 * _REACH]
        np.maximum(window, nucleus, out=window)
    return canvas[_REACH:-_REACH, _REACH:-_REACH]
