import numpy as np
import pytest
from scipy import ndimage

from eva_vision.slides.outline import outlines, ring_area, tissue_outline
from eva_vision.slides.tissue_mask import TissueMask

shapely = pytest.importorskip("shapely")


def polygons(mask: np.ndarray) -> list:
    return [shapely.Polygon(piece.exterior, piece.holes) for piece in outlines(mask)]


def drawn(text: str) -> np.ndarray:
    return np.array([[mark == "#" for mark in row] for row in text.split()])


@pytest.mark.parametrize(
    ("text", "holes"),
    [
        ("#", [0]),
        ("## ## ..", [0]),
        ("### #.# ###", [1]),
        ("#. .#", [0, 0]),  # they touch at a corner: two pieces
        ("###. #..# ####", [1]),  # the ends of a ring touch at a corner: it has a hole, and does not touch itself
        ("#### #.## ##.# ####", [2]),  # two holes touch at a corner
        ("#####.# #...#.# #.#.#.# #...#.# #####.#", [0, 0, 1]),  # an island in a hole
    ],
)
def test_pieces_and_their_holes_are_valid(text: str, holes: list[int]):
    mask = drawn(text)
    shapes = polygons(mask)
    assert all(shape.is_valid for shape in shapes)
    assert sorted(len(shape.interiors) for shape in shapes) == holes
    assert sum(shape.area for shape in shapes) == mask.sum()
    for piece in outlines(mask):
        assert piece.exterior[0] == piece.exterior[-1]
        assert ring_area(piece.exterior) > 0
        assert all(ring[0] == ring[-1] and ring_area(ring) < 0 for ring in piece.holes)


@pytest.mark.parametrize("seed", range(5))
def test_masks_at_random_are_covered_exactly(seed: int):
    """By shapely, which knows nothing of our way round: each pixel of the mask is inside, all others outside."""
    rng = np.random.default_rng(seed)
    mask = rng.random((23, 31)) < 0.55
    shapes = polygons(mask)
    assert all(shape.is_valid for shape in shapes)
    assert len(shapes) == ndimage.label(mask)[1]
    whole = shapely.MultiPolygon(shapes)
    assert whole.is_valid or whole.buffer(0).area == mask.sum()
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    assert np.array_equal(sum(shapely.contains_xy(shape, x, y).astype(int) for shape in shapes), mask)


def test_tissue_is_in_level_0_pixels_and_the_largest_piece_comes_first():
    mask = np.zeros((10, 20), bool)
    mask[1:3, 1:3] = mask[5:9, 10:18] = True
    tissue = TissueMask.of(mask, 2000, 500, 0.5)
    large, small = tissue_outline(tissue)
    assert large.exterior == [(1000, 250), (1800, 250), (1800, 450), (1000, 450), (1000, 250)]
    assert (large.area + small.area) * 0.25e-6 == pytest.approx(tissue.area)
    assert outlines(np.zeros((3, 3), bool)) == []
