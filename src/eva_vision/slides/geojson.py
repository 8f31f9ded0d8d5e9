"""Shapes on a slide as GeoJSON (RFC 7946), in level-0 pixels from its upper left corner, as QuPath takes it.

QuPath 0.4 and later read a FeatureCollection by drag and drop: of each feature, `geometry`, and of its properties
`objectType` (`annotation`, `detection` or `tile`), `name`, `color`, `classification` with `name` and `color`, and
`measurements`, numbers by name (qupath/qupath @ 14891807, QuPathTypeAdapters.java).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from eva_core.files.atomic_files import make_folder, write_text
from eva_vision.slides.outline import Polygon, Ring, tissue_outline
from eva_vision.slides.tissue_mask import TissueMask

Colour = tuple[int, int, int]
_TISSUE: Colour = (0, 114, 178)


def feature(
    polygon: Polygon,
    kind: Literal["annotation", "detection", "tile"],
    name: str,
    classification: tuple[str, Colour] | None = None,
    measurements: Mapping[str, float] | None = None,
    colour: Colour | None = None,
) -> dict[str, Any]:
    """A shape with what is known of it.

    Args:
        polygon: In level-0 pixels.
        kind: What QuPath makes of it; annotations are drawn by people, of the others there may be thousands.
        name: Its name.
        classification: Name and colour of its class.
        measurements: Numbers by name.
        colour: Its own colour, rather than that of its class.
    """
    properties: dict[str, Any] = {"objectType": kind, "name": name}
    if colour is not None:
        properties["color"] = list(colour)
    if classification is not None:
        properties["classification"] = {"name": classification[0], "color": list(classification[1])}
    if measurements:
        properties["measurements"] = dict(measurements)
    rings = [polygon.exterior, *polygon.holes]
    geometry = {"type": "Polygon", "coordinates": [[list(corner) for corner in ring] for ring in rings]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def square(x: float, y: float, side: float) -> Polygon:
    """A square by its upper left corner.

    Examples:
        >>> square(1, 2, 3).area
        9.0
    """
    ends = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
    ring: Ring = [(round(float(a), 2), round(float(b), 2)) for a, b in ends]
    return Polygon(ring, [])


def write_geojson(path: Path, features: Sequence[dict[str, Any]]) -> None:
    """Write a FeatureCollection, whole or not at all."""
    make_folder(path.parent)
    write_text(path, json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":")))


def write_tissue(path: Path, mask: TissueMask) -> int:
    """Write the pieces of tissue of a slide as annotations; returns how many there are."""
    pieces = tissue_outline(mask)
    mm2 = mask.slide_mpp**2 * 1e-6
    shapes = [
        feature(piece, "annotation", f"tissue {n}", ("Tissue", _TISSUE), {"area mm2": round(piece.area * mm2, 6)})
        for n, piece in enumerate(pieces, 1)
    ]
    write_geojson(path, shapes)
    return len(pieces)
