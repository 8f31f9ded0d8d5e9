"""The outline of a mask as polygons with holes, along the edges of its pixels: their area is that of the mask."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from eva_vision.slides.tissue_mask import TissueMask

Ring = list[tuple[float, float]]


@dataclass(frozen=True)
class Polygon:
    """A piece of a mask.

    Attributes:
        exterior: Corners of the outer ring, the first again at the end; its area by the shoelace formula is positive.
        holes: Rings of the holes, whose area is negative.
    """

    exterior: Ring
    holes: list[Ring]

    @property
    def area(self) -> float:
        """What the outer ring encloses without the holes."""
        return sum(map(ring_area, (self.exterior, *self.holes)))


def ring_area(ring: Ring) -> float:
    """The area of a closed ring by the shoelace formula, in the units of its corners, squared.

    Examples:
        >>> ring_area([(0, 0), (2, 0), (2, 1), (0, 1), (0, 0)])
        2.0
    """
    x, y = np.array(ring, np.float64).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def tissue_outline(mask: TissueMask) -> list[Polygon]:
    """The pieces of tissue in level-0 pixels, the largest first."""
    scale = (mask.slide_width / mask.width, mask.slide_height / mask.height)
    return outlines(mask.pixels, scale)


def outlines(mask: np.ndarray, scale: tuple[float, float] = (1.0, 1.0)) -> list[Polygon]:
    """The pieces of a mask, the largest first: pixels that share an edge are of one piece.

    Args:
        mask: bool (H, W).
        scale: Width and height of a pixel.
    """
    labels, count = ndimage.label(mask)
    exteriors: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {number: [] for number in range(1, count + 1)}
    for number, corners in _rings(labels):
        ring = [(round(x * scale[0], 2), round(y * scale[1], 2)) for x, y in corners]
        if ring_area(ring) > 0:
            exteriors[number] = ring
        else:
            holes[number].append(ring)
    pieces = [Polygon(exteriors[number], holes[number]) for number in exteriors]
    return sorted(pieces, key=lambda piece: -piece.area)


def _rings(labels: np.ndarray) -> list[tuple[int, list[tuple[int, int]]]]:
    """Simple closed rings between pieces and what is none, the piece on the same side of all, with its number.

    Where two pixels of a piece touch at a corner alone, the way stays at its pixel, and a ring that comes to a corner a
    second time is cut there in two: no ring touches itself.
    """
    ways = _edges(labels)
    rings = []
    while ways:
        start, onward = next(iter(ways.items()))
        step, number = next(iter(onward.items()))
        path, at = [start], {start: 0}
        steps: list[tuple[int, int]] = []
        place = start
        while True:
            onward = ways[place]
            if len(onward) > 1 and steps:
                step = (-steps[-1][1], steps[-1][0])
            elif step not in onward or steps:
                step = next(iter(onward))
            del onward[step]
            if not onward:
                del ways[place]
            steps.append(step)
            place = (place[0] + step[0], place[1] + step[1])
            if place in at:  # what was walked since then is a ring
                first = at[place]
                rings.append((number, _corners(path[first:], steps[first:])))
                for left in path[first + 1 :]:
                    del at[left]
                del path[first + 1 :], steps[first:]
                if not first:
                    break
            else:
                at[place] = len(path)
                path.append(place)
    return rings


def _edges(labels: np.ndarray) -> dict[tuple[int, int], dict[tuple[int, int], int]]:
    """Steps along the edges of pieces by their start (x, y), with the number of the piece: a pixel is gone round."""
    padded = np.pad(labels, 1)
    inner = padded[1:-1, 1:-1]
    ways: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
    around = {(1, 0): (padded[:-2, 1:-1], 0, 0), (0, 1): (padded[1:-1, 2:], 1, 0)}
    around |= {(-1, 0): (padded[2:, 1:-1], 1, 1), (0, -1): (padded[1:-1, :-2], 0, 1)}
    for step, (beside, right, down) in around.items():
        rows, columns = np.nonzero((inner > 0) & (beside == 0))
        numbers = inner[rows, columns].tolist()
        for x, y, number in zip((columns + right).tolist(), (rows + down).tolist(), numbers, strict=True):
            ways.setdefault((x, y), {})[step] = number
    return ways


def _corners(path: list[tuple[int, int]], steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The places of a ring at which it turns, the first again at the end."""
    turns = [place for n, place in enumerate(path) if steps[n] != steps[n - 1]]
    return [*turns, turns[0]]
