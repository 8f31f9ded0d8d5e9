import math

import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_vision.shifts.contracts import Reference
from eva_vision.shifts.stain import amounts_of, densities, pixels_of_densities, stain, stain_swap, stains_of
from tests.conftest import picture

PINK = np.array([[0.60, 0.70, 0.39], [0.10, 0.95, 0.30]])
BLUE = np.array([[0.75, 0.60, 0.28], [0.20, 0.90, 0.38]])


def stained(colours: np.ndarray, scale: float = 1.0, size: int = 48) -> np.ndarray:
    """An image of two dyes in known amounts: uint8 (size, size, 3)."""
    rng = np.random.default_rng(0)
    amounts = rng.uniform(0.1, 1.3, (size * size, 2))
    amounts[: size * 4, 0] = amounts[size * 4 : size * 8, 1] = 0  # each dye alone somewhere
    unit = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    return pixels_of_densities(scale * amounts @ unit, (size, size, 3))


def test_densities_come_back():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert (pixels_of_densities(densities(image), image.shape) == image).all()


def test_more_haematoxylin_and_less_eosin_by_the_formula_of_ruifrok():
    image = picture(0)
    assert (stain(image, 0.0) == image).all()
    vectors = [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]
    vectors = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in vectors]
    for y, x in ((0, 0), (7, 23)):
        density = [-math.log((int(v) + 1) / 256) for v in image[y, x]]
        h, e, rest = np.linalg.solve(np.array(vectors).T, density)
        expected = [1.3 * h * a + 0.7 * e * b + rest * c for a, b, c in zip(*vectors, strict=True)]
        grey = [min(255, max(0, round(256 * math.exp(-d) - 1))) for d in expected]
        assert stain(image, 0.3)[y, x].tolist() == grey


def test_stains_are_found_by_macenko_s_method():
    found = stains_of(stained(PINK))
    assert found is not None
    unit = PINK / np.linalg.norm(PINK, axis=1, keepdims=True)
    assert (np.abs((found.colours * unit).sum(axis=1)) > 0.998).all()  # cosine to the planted ones
    assert np.allclose(amounts_of(unit, unit), np.eye(2))
    assert stains_of(np.full((20, 20, 3), 250, np.uint8)) is None


def test_a_swap_gives_the_stain_of_the_reference():
    image, reference = stained(PINK), Reference(stained(BLUE, scale=0.7))
    assert (stain_swap(image, 0.0, reference) == image).all()
    expected = stained(BLUE, scale=0.7).astype(int)  # the same amounts of the other dyes
    before, halfway, after = (
        np.abs(i - expected).mean() for i in (image, *(stain_swap(image, s, reference) for s in (0.5, 1.0)))
    )
    assert after < before / 5
    assert after < halfway < 0.7 * before


def test_glass_stays_and_lends_nothing():
    glass = np.full((20, 20, 3), 250, np.uint8)
    assert (stain_swap(glass, 1.0, Reference(stained(BLUE))) == glass).all()
    with pytest.raises(UsageError, match="tissue in the reference"):
        stain_swap(stained(PINK), 1.0, Reference(glass))
