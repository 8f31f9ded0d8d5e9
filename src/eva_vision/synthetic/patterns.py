"""Synthetic tissue of four patterns that differ in the shape and the arrangement of what is in it, not in its colour.

How much of a piece of tissue is nucleus or empty, and how strongly haematoxylin and eosin stain it, is drawn without
regard to the pattern, so that colour says little. Scales are those of 0.5 micrometres per pixel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects, uniform_filter
from scipy.spatial import cKDTree

from eva_vision.synthetic import patches
from eva_vision.synthetic.patches import Stain, soft_step, value_noise

CLASSES = ("stroma", "glands", "sheets", "follicles")
MPP = 0.5
VERSION = 1
"""Raise it whenever the pixels change: it is part of the dataset's fingerprint."""

_STROMA, _GLANDS, _SHEETS = range(3)
_MARGIN = 12
"""Drawn around a patch, in pixels, and cut off: nuclei whose centre is outside reach into it."""
_REGION = 420
"""About the side of a region of one pattern on a slide, in pixels."""
_SEAM = 15
"""Pixels over which one region passes into the next."""


class _Amounts(NamedTuple):
    """What a piece of tissue has of everything, whatever its pattern.

    Attributes:
        nuclei: Share of the area that they cover.
        empty: Share of the area that is.
        haematoxylin: Mean density.
        spread: Standard deviation of the density of the nuclei.
        eosin: Mean density, where no nucleus is.
        together: Standard deviation of the density of both stains.
    """

    nuclei: float
    empty: float
    haematoxylin: float
    spread: float
    eosin: float
    together: float


class _Piece(NamedTuple):
    """Tissue of one pattern: densities (side, side), nuclei (n, 6) as rows of `patches`, and what is its own, bool."""

    haematoxylin: np.ndarray
    eosin: np.ndarray
    nuclei: np.ndarray
    own: np.ndarray


def pattern_patch(cls: int, rng: np.random.Generator, stain: Stain, size: int = 128) -> np.ndarray:
    """Draw one patch of one pattern.

    Args:
        cls: Index into `CLASSES`.
        rng: Decides everything but the stain: the same state gives the same pixels.
        stain: The stain of the patient.
        size: Side in pixels.

    Returns:
        uint8 RGB, (size, size, 3).
    """
    side = size + 2 * _MARGIN
    piece = _piece(rng, cls, np.ones((side, side), bool))
    nuclei = patches.draw_nuclei(rng, piece.nuclei, side)
    kept = (slice(_MARGIN, _MARGIN + size),) * 2
    return patches.render(rng, piece.haematoxylin[kept], piece.eosin[kept], nuclei[kept], stain)


def pattern_tissue(
    side: int,
    seed: int,
    glass: int = 243,
    shares: Sequence[float] | None = None,
    stain: Stain | None = None,
) -> np.ndarray:
    """Draw a piece of tissue on glass in one stain: regions of all patterns that pass into each other.

    Args:
        side: In pixels.
        seed: Decides the pixels.
        glass: Grey value of the empty slide.
        shares: Share of the regions that each pattern has, in the order of `CLASSES`; None: all alike.
        stain: The stain; one that the seed decides unless given.

    Returns:
        uint8 RGB, (side, side, 3).
    """
    rng = np.random.default_rng(seed)
    drawn_stain, owner, places, kinds = _laid_out(rng, side, shares)
    stain = drawn_stain if stain is None else stain
    haematoxylin, eosin = np.zeros((2, side, side), np.float32)
    nuclei, numbers = [], []
    for number, (place, kind) in enumerate(zip(places, kinds.tolist(), strict=True)):
        if place is None:
            continue
        top, left = (max(0, part.start - _SEAM) for part in place)
        extent = max(place[0].stop - top, place[1].stop - left) + _SEAM
        window = (slice(top, top + extent), slice(left, left + extent))
        own = np.zeros((extent, extent), bool)
        inside = (slice(0, min(extent, side - top)), slice(0, min(extent, side - left)))
        own[inside] = owner[window] == number
        if own.sum() < 2:  # a gland beside it took the rest, and of one pixel nothing varies
            continue
        piece = _piece(rng, kind, own)
        owner[window][piece.own[inside]] = number
        weight = uniform_filter(piece.own.astype(np.float32), _SEAM, mode="nearest")[inside]
        for layer, drawn in ((haematoxylin, piece.haematoxylin), (eosin, piece.eosin)):
            layer[window] += weight * (drawn[inside] - layer[window])
        nuclei.append(piece.nuclei + np.array([left, top, 0, 0, 0, 0]))
        numbers += [number] * len(piece.nuclei)
    tissue = _outline(rng, side)
    drawn = patches.draw_nuclei(rng, _on_tissue(np.concatenate(nuclei), np.array(numbers), owner, tissue), side)
    image = patches.render(rng, haematoxylin, eosin, drawn, stain)
    grain = rng.integers(glass - 2, glass + 3, (side, side, 1)).astype(np.float32)
    pixels: np.ndarray = image * tissue[..., None] + grain * (1 - tissue[..., None]) + 0.5
    return pixels.astype(np.uint8)


def pattern_map(side: int, seed: int) -> np.ndarray:
    """Where `pattern_tissue` draws which pattern, before glands that reach over the border of their region.

    Args:
        side: In pixels.
        seed: That of the tissue.

    Returns:
        Index into `CLASSES`, int (side, side); under glass, too.
    """
    _, owner, _, kinds = _laid_out(np.random.default_rng(seed), side)
    drawn: np.ndarray = kinds[owner]
    return drawn


def _laid_out(
    rng: np.random.Generator, side: int, shares: Sequence[float] | None = None
) -> tuple[Stain, np.ndarray, list[tuple[slice, slice] | None], np.ndarray]:
    """Stain, number of the region of each pixel, and the extent and the pattern of each region."""
    stain = patches.random_stain(rng)
    owner = _regions(rng, side)
    places = find_objects(owner + 1)
    return stain, owner, places, rng.permutation(_kinds(len(places), shares))


def _kinds(regions: int, shares: Sequence[float] | None) -> np.ndarray:
    """A pattern for each region, as near to the shares as whole regions allow."""
    if shares is None:
        return np.arange(regions) % len(CLASSES)
    edges = np.cumsum(shares) / np.sum(shares)
    kinds: np.ndarray = np.searchsorted(edges, (np.arange(regions) + 0.5) / regions)
    return kinds


def _on_tissue(nuclei: np.ndarray, numbers: np.ndarray, owner: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """The nuclei whose centre is on tissue, and in their own region to the last."""
    inside = (nuclei[:, :2] < len(owner)).all(1)
    x, y = nuclei[inside, :2].astype(int).T
    own: np.ndarray = (owner[y, x] == numbers[inside]) & (tissue[y, x] > 0.5)
    there: np.ndarray = nuclei[inside][own]
    return there


def _amounts(rng: np.random.Generator) -> _Amounts:
    spread = rng.uniform(0.25, 0.31)
    return _Amounts(
        nuclei=rng.uniform(0.12, 0.19),
        empty=rng.uniform(0.04, 0.11),
        haematoxylin=rng.uniform(0.17, 0.25),
        spread=spread,
        eosin=rng.uniform(0.30, 0.44),
        together=spread * rng.uniform(0.94, 1.0),
    )


def _piece(rng: np.random.Generator, kind: int, own: np.ndarray) -> _Piece:
    """Draw tissue of a pattern where it is to be, bool (side, side); a gland may take a little more."""
    side = len(own)
    amounts = _amounts(rng)
    flow, fibres = patches.fibre_field(rng, side)
    patchy = value_noise(rng, side, 25)
    matrix = 0.4 + 0.08 * fibres + 0.05 * patchy
    if kind == _STROMA:
        eosin = matrix + 0.05 * fibres
        empty = _greatest(0.6 * patchy + fibres, amounts.empty, 0.8)
        nuclei = patches.spindles(rng, flow, 1.15 * amounts.nuclei)
    elif kind == _GLANDS:
        eosin, empty, nuclei, own = _glands(rng, amounts, matrix, own)
    elif kind == _SHEETS:
        eosin, empty, nuclei = _sheets(rng, amounts, patchy)
    else:
        eosin, empty, nuclei = _follicles(rng, amounts, matrix)
    nuclei = patches.within(own, nuclei)
    nuclei = nuclei[empty[nuclei[:, 1].astype(int), nuclei[:, 0].astype(int)] < 0.5]
    drawn = patches.draw_nuclei(rng, nuclei, side)
    gain = amounts.spread / max(drawn[own].std(), 0.1)
    nuclei[:, 5] *= gain
    drawn *= gain
    haematoxylin = (max(amounts.haematoxylin - drawn[own].mean(), 0.02) + 0.02 * patchy) * (1 - empty)
    eosin = _levelled(eosin * (1 - 0.9 * empty), haematoxylin + drawn, 1 - 0.5 * np.minimum(drawn, 1), own, amounts)
    return _Piece(haematoxylin, eosin, nuclei, own)


def _levelled(
    eosin: np.ndarray, haematoxylin: np.ndarray, seen: np.ndarray, own: np.ndarray, amounts: _Amounts
) -> np.ndarray:
    """Eosin of the mean that is asked for, as strong as both stains together need to vary as much as is asked for.

    Args:
        eosin: Density in any unit, (side, side), as are the other fields.
        haematoxylin: Density.
        seen: Share of the eosin that nuclei leave.
        own: Where it counts, bool.
        amounts: What is asked for.
    """
    part = eosin[own]
    shape = (eosin - part.mean()) / part.std()
    (still, both), (_, varying) = np.cov((haematoxylin + amounts.eosin * seen)[own], (shape * seen)[own])
    more = max(both**2 - varying * (still - amounts.together**2), 0.0)
    strength = np.clip((np.sqrt(more) - both) / varying, 0.07, 0.18)
    drawn: np.ndarray = amounts.eosin + strength * shape
    return drawn.clip(0)


def _greatest(field: np.ndarray, share: float, width: float) -> np.ndarray:
    """1 on the share of the area where a field is greatest, with soft borders."""
    return soft_step(field - np.quantile(field[::4, ::4], 1 - share), width)


def _grid(rng: np.random.Generator, pitch: float, side: int, jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """Points x, y of a hexagonal lattice, each moved by about `jitter` of the pitch."""
    n = int(np.ceil(side / pitch)) + 2
    columns, rows = np.meshgrid(np.arange(n), np.arange(n))
    at = np.stack([columns + 0.5 * (rows % 2), rows]).reshape(2, -1) + rng.uniform(-1, 0, (2, 1))
    x, y = (at + rng.normal(0, jitter, at.shape)) * pitch
    return x, y


def _round(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, radius: tuple[float, float], longer: float
) -> np.ndarray:
    """Round to oval nuclei in any direction."""
    n = len(x)
    width = rng.uniform(*radius, n)
    return np.stack(
        [x, y, width * rng.uniform(1, longer, n), width, rng.uniform(0, np.pi, n), rng.uniform(0.7, 1.1, n)], 1
    )


def _glands(
    rng: np.random.Generator, amounts: _Amounts, matrix: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rings of nuclei around a lumen, in stroma; a gland whose centre is within is drawn whole."""
    side = len(own)
    radius = rng.uniform(28, 38)
    pitch = 2.2 * radius
    lumen = np.clip(np.sqrt(amounts.empty * pitch**2 / np.pi) / radius, 0.2, 0.5)
    cytoplasm = rng.uniform(0.36, 0.46)
    eosin, empty, own = matrix.copy(), np.zeros_like(matrix), own.copy()
    centres, rings = own.copy(), [np.empty((0, 6))]
    for x, y in zip(*_grid(rng, pitch, side, 0.08), strict=True):
        if not centres[min(max(int(y), 0), side - 1), min(max(int(x), 0), side - 1)]:
            continue
        mean = radius * rng.uniform(0.8, 1.15)
        wobble = patches.random_wobble(rng, 0.1)
        where = patches.disc(x, y, mean, wobble, side)
        if where is None:
            continue
        window, distance = where
        cell = soft_step(1 - distance, 0.08)
        eosin[window] += cell * (cytoplasm - eosin[window])
        empty[window] = np.maximum(empty[window], soft_step(lumen * rng.uniform(0.8, 1.2) - distance, 0.1))
        own[window] |= distance < 1
        count = int(amounts.nuclei * (pitch * mean / radius) ** 2 / 60)
        turn = 2 * np.pi / max(count, 1) * (np.arange(count) + rng.normal(0, 0.12, count)) + rng.uniform(0, np.pi)
        towards = np.exp(1j * turn)
        point = mean * rng.normal(0.8, 0.03, count) * patches.outline(towards, wobble) * towards
        width = rng.uniform(2.9, 3.9, count)
        length = width * rng.uniform(1.4, 1.9, count)
        dark = rng.uniform(0.7, 1.1, count)
        rings.append(np.stack([x + point.real, y + point.imag, length, width, rng.normal(turn, 0.15), dark], 1))
    return eosin, empty, np.concatenate(rings), own


def _sheets(
    rng: np.random.Generator, amounts: _Amounts, patchy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Large round nuclei at even distances in granular cytoplasm with round holes."""
    side = len(patchy)
    nuclei = _round(rng, *_grid(rng, np.sqrt(120 / amounts.nuclei), side, 0.1), (5.2, 6.4), 1.25)
    empty = np.zeros_like(patchy)
    for _ in range(rng.poisson(amounts.empty * side**2 / 154)):  # of 7 px in radius
        where = patches.disc(
            rng.uniform(0, side), rng.uniform(0, side), rng.uniform(5, 9), patches.random_wobble(rng, 0.08), side
        )
        if where is not None:
            window, distance = where
            empty[window] = np.maximum(empty[window], soft_step(1 - distance, 0.15))
    return 0.4 + 0.05 * patchy + 0.07 * value_noise(rng, side, 4) + 0.05 * value_noise(rng, side, 8), empty, nuclei


def _follicles(
    rng: np.random.Generator, amounts: _Amounts, matrix: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Small round nuclei crowded into clumps, each in a cleft, in stroma."""
    side = len(matrix)
    clump = value_noise(rng, side, 36) + 0.1 * value_noise(rng, side, 12)
    edge = np.quantile(clump[::4, ::4], 1 - amounts.nuclei / 0.5)
    x, y = _grid(rng, 10.5, side, 0.12)
    inside = (x >= 0) & (y >= 0) & (x < side) & (y < side)
    x, y = x[inside], y[inside]
    inside = clump[y.astype(int), x.astype(int)] > edge
    nuclei = _round(rng, x[inside], y[inside], (3.6, 4.8), 1.2)
    return matrix, _greatest(-np.abs(clump - edge + 0.35), amounts.empty, 0.12), nuclei


def _regions(rng: np.random.Generator, side: int) -> np.ndarray:
    """Number of the region of each pixel, int32 (side, side): the nearest point of a loose lattice, with wavy borders.

    Found for one pixel in 16, as borders are blurred anyway.
    """
    small = -(-side // 4)
    points = np.stack(_grid(rng, _REGION / 4, small, 0.15), 1)
    warp = [6 * value_noise(rng, small, 32) + value_noise(rng, small, 8) for _ in range(2)]
    at = np.arange(small)
    places = np.stack([at + warp[0], at[:, None] + warp[1]], -1)
    owner: np.ndarray = cKDTree(points).query(places)[1].astype(np.int32)
    return owner.repeat(4, 0).repeat(4, 1)[:side, :side]


def _outline(rng: np.random.Generator, side: int) -> np.ndarray:
    """1 where there is tissue, 0 on glass, float32 (side, side), soft over a few pixels."""
    at = np.abs(np.linspace(-1, 1, side, dtype=np.float32))
    away = np.hypot(at, at[:, None]) + 0.1 * value_noise(rng, side, side / 6) + 0.02 * value_noise(rng, side, side / 30)
    away += 3 * (np.maximum(at, at[:, None]) - 0.8).clip(0)  # glass all round
    return soft_step(0.85 - away, 6 / side)
