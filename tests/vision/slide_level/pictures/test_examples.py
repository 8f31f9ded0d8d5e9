import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core import registry
from eva_core.api import fit_job
from eva_core.config.jobs import with_head
from eva_core.errors import EvaError
from eva_core.files.checksums import Damaged
from eva_core.job import Job
from eva_core.results.record import read_whole_result
from eva_core.task import task_named
from eva_vision.slide_level.pictures import examples

shapely = pytest.importorskip("shapely")


def silent(line: str) -> None:
    """Nobody listens."""


def fitted(job: Job, head: str, folder: Path) -> dict:
    return fit_job(replace(with_head(job, registry.heads.build(head)), output=folder), silent)  # type: ignore[return-value]


def test_attention_as_a_picture_and_as_shapes(job: Job, tmp_path: Path):
    out = tmp_path / "out"
    results = fitted(job, "abmil", out)
    pictures = task_named("slide_classification").pictures(results)  # type: ignore[arg-type]
    assert [p["which"] for p in pictures][:1] == ["surest right"]
    assert [p["which"] for p in pictures][-1] == "median"
    for picture in pictures:
        with Image.open(out / picture["file"]) as image:
            assert image.width > 900
        text = (out / picture["file"]).with_suffix(".geojson").read_text()
        assert all(shape.is_valid and shape.area == 128 * 128 for shape in shapely.from_geojson(text).geoms)
        tiles = json.loads(text)["features"]
        assert {tile["properties"]["objectType"] for tile in tiles} == {"tile"}
        said = [tile["properties"]["measurements"] for tile in tiles]
        assert all(
            set(one) == {"attention x patches", next(iter(one.keys() - {"attention x patches"}))} for one in said
        )
        if len(tiles) == 6:  # of a patient with one slide
            assert np.mean([one["attention x patches"] for one in said]) == pytest.approx(1, abs=1e-4)
    read_whole_result(out)
    (out / results["shapes"][0]).write_text("{}")
    with pytest.raises(Damaged):
        read_whole_result(out)  # results.json vouches for them


def test_linear_heads_have_patch_predictions_and_neighbours_nothing(job: Job, tmp_path: Path):
    linear = fitted(job, "mean_logreg", tmp_path / "a")
    assert [p["which"] for p in linear["pictures"]][-1] == "median"
    text = (tmp_path / "a" / linear["shapes"][0]).read_text()
    assert list(json.loads(text)["features"][0]["properties"]["measurements"]) in (["P(a)"], ["P(b)"])
    assert fitted(job, "mean_knn", tmp_path / "b")["pictures"] == []


def test_a_slide_that_is_gone_costs_a_picture_and_no_result(job: Job, tmp_path: Path, monkeypatch, capsys):
    def gone(job: Job, file: object) -> None:
        raise EvaError("Expected a slide, but it is gone.")

    monkeypatch.setattr(examples, "_opened", gone)
    results = fitted(job, "abmil", tmp_path / "out")
    assert results["pictures"] == []
    assert "No picture of" in capsys.readouterr().err
