"""PLISM: the same tiles of slides of several stains and scanners, in Parquet files."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eva_core.errors import UsageError
from eva_vision.datasets.plism import Plism
from tests.conftest import picture

STAINS, SCANNERS, TILES = ("GIV", "GIVH", "HR"), ("AT2", "P"), 20
NUMBERS = {"slides": 6, "tiles": TILES}
"""What the tree holds, in place of what is published."""


def tree(root: Path, name: str = "tile_16_{x}_{y}", cut: int = 0) -> Path:
    (root / "data").mkdir(parents=True, exist_ok=True)
    rows = []
    for i, stain in enumerate(STAINS):
        for j, scanner in enumerate(SCANNERS):
            for tile in range(TILES)[:: -1 if j else 1]:  # in another order: places tell
                file = io.BytesIO()
                Image.fromarray(picture(tile, (150 + 20 * i, 130, 160 + 20 * j), 8)).save(file, "PNG")
                facts = {
                    "slide_id": f"{stain}_{scanner}_to_GMH_S60.tif",
                    "tile_id": name.format(x=tile // 5, y=tile % 5),
                }
                rows.append({**facts, "png": {"bytes": file.getvalue(), "path": None}})
    rows = rows[: len(rows) - cut]
    for part in range(2):
        table = pa.Table.from_pylist(rows[part * len(rows) // 2 : (part + 1) * len(rows) // 2])
        pq.write_table(table, root / f"data/train-{part:05d}-of-00002.parquet", row_group_size=16)
    return root


def test_the_same_tiles_of_each_slide(tmp_path: Path):
    dataset = Plism(str(tree(tmp_path)), tiles=4)
    assert len(dataset.samples) == 6 * 4
    assert dataset.registered.slides["GIVH_P"] == ("GIVH", "P")
    places = {(s.group, s.id.partition("/")[2]) for s in dataset.samples}
    assert {place for _, place in places} == {"16_0_0", "16_1_1", "16_2_3", "16_3_4"}
    assert len(places) == 24
    sample = next(s for s in dataset.samples if s.id == "HR_P/16_1_1")
    assert (sample.split, sample.target, sample.site) == ("new", None, "P")
    assert np.array_equal(dataset.image(sample), picture(6, (190, 130, 180), 8))


def test_all_tiles_unless_fewer_are_asked_for(tmp_path: Path):
    root = str(tree(tmp_path))
    assert len(Plism(root).samples) == 6 * TILES
    with pytest.raises(UsageError, match="tiles of at least 1, but got 0"):
        Plism(root, tiles=0)


def test_what_is_not_as_published_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="6 slides, of which HR_P has 19"):
        Plism(str(tree(tmp_path / "a", cut=1)), tiles=2)
    with pytest.raises(UsageError, match="but got 5 slides"):
        Plism(str(tree(tmp_path / "b", cut=TILES)), tiles=2)
    with pytest.raises(UsageError, match="tile_id as NAME_LEVEL_X_Y"):
        Plism(str(tree(tmp_path / "c", name="tile{x}_{y}")), tiles=2)


def build(root: str) -> Plism:
    return Plism(root, tiles=4)
