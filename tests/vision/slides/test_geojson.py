import json
from pathlib import Path

import numpy as np
import pytest

from eva_vision.slides.geojson import feature, square, write_geojson, write_tissue
from eva_vision.slides.outline import Polygon
from eva_vision.slides.tissue_mask import TissueMask


def test_a_file_of_shapes_as_qupath_reads_it(tmp_path: Path):
    hole = [(1.0, 1.0), (1.0, 2.0), (2.0, 2.0), (2.0, 1.0), (1.0, 1.0)]
    piece = Polygon(square(0, 0, 4).exterior, [hole])
    path = tmp_path / "new" / "a.geojson"
    shapes = [
        feature(piece, "annotation", "tissue 1", ("Tissue", (0, 114, 178))),
        feature(square(8, 8, 2.5), "tile", "p"),
    ]
    write_geojson(path, [*shapes, feature(square(0, 0, 1), "tile", "q", measurements={"attention": 0.5})])
    content = json.loads(path.read_text())
    assert content["type"] == "FeatureCollection"
    one, two, three = content["features"]
    assert one["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [list(corner) for corner in hole]],
    }
    tissue = {"name": "Tissue", "color": [0, 114, 178]}
    assert one["properties"] == {"objectType": "annotation", "name": "tissue 1", "classification": tissue}
    assert two["properties"] == {"objectType": "tile", "name": "p"}
    assert three["properties"]["measurements"] == {"attention": 0.5}
    assert piece.area == 15
    coloured = feature(square(0, 0, 1), "tile", "r", colour=(1, 2, 3))
    assert coloured["properties"]["color"] == [1, 2, 3]


def test_tissue_is_a_list_of_annotations(tmp_path: Path):
    mask = np.zeros((10, 20), bool)
    mask[1:3, 1:3] = mask[5:9, 10:18] = True
    tissue = TissueMask.of(mask, 2000, 1000, 0.5)
    assert write_tissue(tmp_path / "t.geojson", tissue) == 2
    properties = [one["properties"] for one in json.loads((tmp_path / "t.geojson").read_text())["features"]]
    assert [one["name"] for one in properties] == ["tissue 1", "tissue 2"]
    assert {one["objectType"] for one in properties} == {"annotation"}
    assert sum(one["measurements"]["area mm2"] for one in properties) == pytest.approx(tissue.area)
    empty = TissueMask.of(np.zeros((10, 20), bool), 2000, 1000, 0.5)
    assert write_tissue(tmp_path / "none.geojson", empty) == 0
