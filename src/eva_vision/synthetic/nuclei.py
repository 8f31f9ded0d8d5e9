"""Patches as `eva_vision.synthetic.patches` draws them, twice as large, with the class and number of each nucleus."""

import numpy as np
from scipy.ndimage import uniform_filter

from eva_vision.synthetic import patches
from eva_vision.synthetic.patches import Stain, soft_step, value_noise

CLASSES = ("background", "lymphocyte", "epithelial", "stromal")
MPP = 0.25
VERSION = 1
"""Raise it whenever the pixels change: it is part of the dataset's fingerprint."""

_LYMPHOCYTE, _EPITHELIAL, _STROMAL = 1, 2, 3
_MARGIN = 26
"""Drawn around the patch, in pixels, and cut off: nuclei whose centre is outside reach into it."""
_HIDDEN = 0.1
"""The largest part of a nucleus that others may cover."""


def phantom_nuclei(
    rng: np.random.Generator, stain: Stain, size: int = 256
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one patch of epithelium and stroma.

    Lymphocytes are small, round and dark; epithelial nuclei large and pale with a dark rim and nucleoli; stromal nuclei
    slender, along the fibres. Sizes and densities overlap between them, and nuclei may touch.

    Args:
        rng: Decides everything but the stain: the same state gives the same pixels.
        stain: The stain of the patient.
        size: Side in pixels.

    Returns:
        The image, uint8 RGB (size, size, 3); the mask, indices into `CLASSES`, uint8 (size, size); the instances,
        counted from 1 without gaps, 0 for none, int32 (size, size).
    """
    side = size + 2 * _MARGIN
    half = (side + 1) // 2  # what phantom draws is drawn at its own scale and doubled
    flow, fibres = patches.fibre_field(rng, half)
    patchy = value_noise(rng, half, 25)
    epithelial = patches.territories(rng, half, share=rng.uniform(0.2, 0.8))
    clefts = 1 - 0.9 * soft_step(patchy + 0.5 * fibres - rng.uniform(1.4, 2.4), 0.8)
    cytoplasm = (rng.uniform(0.04, 0.14), rng.uniform(0.3, 0.45))
    epithelium = uniform_filter(epithelial.astype(np.float32), 5, mode="nearest")
    haematoxylin = 0.05 + 0.02 * patchy + cytoplasm[0] * epithelium
    eosin = epithelium * (cytoplasm[1] + 0.04 * patchy)
    eosin += (1 - epithelium) * (0.40 + 0.13 * fibres + 0.06 * patchy) * clefts

    richness = rng.uniform(0.7, 1.3)
    kinds = {
        _LYMPHOCYTE: patches.lymphocytes(rng, rng.uniform(0.02, 0.14), half),
        _EPITHELIAL: patches.within(epithelial, _epithelial(rng, 0.4 * richness, half)),
        _STROMAL: patches.within(~epithelial, patches.spindles(rng, flow, 0.18 * richness)),
    }
    nuclei = np.concatenate(list(kinds.values())) * [2, 2, 2, 2, 1, 1]
    labels = np.repeat(list(kinds), [len(rows) for rows in kinds.values()])
    order = rng.permutation(len(nuclei))
    drawn, mask, numbers = _paint(rng, nuclei[order], labels[order], side)

    inside = (slice(_MARGIN, _MARGIN + size),) * 2
    image = patches.render(rng, _doubled(haematoxylin)[inside], _doubled(eosin)[inside], drawn[inside], stain)
    visible = np.bincount(numbers[inside].ravel()) > 0
    visible[0] = False
    return image, mask[inside].copy(), np.cumsum(visible, dtype=np.int32)[numbers[inside]]


def _epithelial(rng: np.random.Generator, fraction: float, side: int) -> np.ndarray:
    """Large nuclei, round to oval, that point about the same way; rows as those of `phantom`."""
    x, y = patches.scatter(rng, 150, fraction, side)
    n = len(x)
    width = rng.uniform(5.0, 7.5, n)
    turn = rng.normal(rng.uniform(0, np.pi), 0.5, n)
    return np.stack([x, y, width * rng.uniform(1.05, 1.6, n), width, turn, rng.uniform(0.5, 0.9, n)], 1)


def _paint(
    rng: np.random.Generator, nuclei: np.ndarray, labels: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw nuclei one after another, each below those before it; one that would be covered too much is left out.

    Args:
        rng: Decides outlines and chromatin.
        nuclei: Rows as those of `phantom`, (n, 6).
        labels: Their classes, (n,).
        side: Side of the square to draw on, in pixels.

    Returns:
        Density of haematoxylin, float32, class, uint8, and row of the nucleus from 1, int32: (side, side) each.
    """
    density = np.zeros((side, side), np.float32)
    mask = np.zeros((side, side), np.uint8)
    numbers = np.zeros((side, side), np.int32)
    clumps = value_noise(rng, side, 4)
    for number, ((x, y, length, width, turn, dark), label) in enumerate(zip(nuclei.tolist(), labels, strict=True), 1):
        reach = 1.4 * length + 2
        rows = slice(max(0, int(y - reach)), min(side, int(y + reach) + 1))
        columns = slice(max(0, int(x - reach)), min(side, int(x + reach) + 1))
        offset = np.arange(columns.start, columns.stop) - x + 1j * (np.arange(rows.start, rows.stop) - y)[:, None]
        offset = (offset * np.exp(-1j * turn)).astype(np.complex64)
        u, v = offset.real / length, offset.imag / width
        if label == _STROMAL:
            v = v + rng.normal(0, 0.12) * u * u
        radius = np.sqrt(u * u + v * v) + np.float32(1e-3)
        wobble = patches.random_wobble(rng, 0.03 if label == _LYMPHOCYTE else 0.06)
        distance = radius / patches.outline((u + 1j * v) / radius, wobble)
        inside = distance < 1
        free = numbers[rows, columns] == 0
        if (inside & ~free).sum() > _HIDDEN * inside.sum():
            continue
        shape = (
            soft_step((1 - distance) * width, 2.5)
            * dark
            * _chromatin(rng, label, distance, offset, clumps[rows, columns])
        )
        density[rows, columns] = np.where(free, np.maximum(density[rows, columns], shape), density[rows, columns])
        mask[rows, columns][inside & free] = label
        numbers[rows, columns][inside & free] = number
    return density, mask, numbers


def _chromatin(
    rng: np.random.Generator, label: int, distance: np.ndarray, offset: np.ndarray, clumps: np.ndarray
) -> np.ndarray:
    """Relative density in a nucleus, (h, w), from the distance to its centre, 1 on the outline, and the place."""
    if label == _LYMPHOCYTE:
        return np.asarray(1 + 0.12 * clumps)
    if label == _STROMAL:
        return np.asarray(0.85 + 0.2 * np.minimum(distance, 1) + 0.1 * clumps)
    texture: np.ndarray = 0.65 + 0.5 * np.minimum(distance, 1) ** 3 + 0.12 * clumps
    for place in rng.normal(0, 3, (int(rng.integers(1, 3)), 2)):
        texture = texture + 0.6 * soft_step(2.2 - np.abs(offset - complex(*place)), 1.5)
    return texture


def _doubled(field: np.ndarray) -> np.ndarray:
    """Twice as many pixels a side, linear between the centres of the old ones: (n, n) -> (2 n, 2 n)."""
    for axis in (0, 1):
        field = np.moveaxis(field, axis, 0)
        before, after = np.concatenate([field[:1], field[:-1]]), np.concatenate([field[1:], field[-1:]])
        field = np.stack([0.75 * field + 0.25 * before, 0.75 * field + 0.25 * after], 1).reshape(-1, field.shape[1])
        field = np.moveaxis(field, 0, axis)
    return field
