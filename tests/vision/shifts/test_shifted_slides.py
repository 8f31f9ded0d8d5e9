"""Slides under a shift: a result whose decisions hang on colour, and what moves with the reader."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eva_core import api
from eva_core.cli import main
from eva_core.job import Job
from eva_vision.shifts.contracts import Shift
from eva_vision.shifts.optics import mpp_error
from eva_vision.shifts.recording import brightness
from eva_vision.shifts.shifted_slides import looks_at_patches, shifted_slides, slide_shift
from eva_vision.slide_level.bags.extract import missing_bags
from eva_vision.slide_level.bags.patches import BagPatches, Batch, End, Wanted
from eva_vision.slide_level.contracts import SlideFile
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slide_level.task import _model, _reading
from tests.vision.slide_level.conftest import dataset, job, section, slides

__all__ = ["dataset", "job", "section", "slides"]
SMALL = {"mpp": 1.0, "size": 64, "patches": 6, "tissue": 0.4, "folds": 3}


@pytest.fixture(scope="module")
def fitted(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validated result of six colours on slides whose colour is the label."""
    root = tmp_path_factory.mktemp("shifted_slides")
    words = [word for name, value in SMALL.items() for word in (f"--protocol.slide_classification.{name}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(root / "cache"))
        patch.setattr(api, "try_report", lambda *_: None)
        data = ["--config", "slide_folder", "--dataset.root", str(slides), "--head", "mean_logreg"]
        how = ["--workers", "0", "--device", "cpu", "--output", str(root / "out")]
        assert main(["fit", *data, "--model", "colour_stats", "--protocol", "strict", *words, *how]) == 0
    return root / "out"


def test_decisions_on_slides_flip_where_their_colours_go(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVA_CACHE", str(fitted.parent / "cache"))
    found = {}
    for changes, *grid in (["brightness=-0.9,quarter_turn=90,mpp_error=0.5"], ["mpp_error=0.5", "--move_grid"]):
        words = ["shift", str(fitted), "--changes", changes, *grid, "--workers", "0", "--device", "cpu"]
        assert main([*words, "--output", str(tmp_path / "shift")]) == 0
        content = json.loads((tmp_path / "shift/shift.json").read_text())
        assert (content["unit"], content["looked_at_unit"], content["moves_grid"]) == ("slides", "patches", bool(grid))
        (entry,) = content["models"]
        assert entry["score_of_result"] == entry["clean"]["balanced_accuracy"]["mean"] == 1
        found |= {(row["change"], bool(grid)): row for row in entry["shifts"]}
    assert found["brightness", False]["flipped"]["images"]["mean"] == pytest.approx(0.5)  # all are of one class then
    assert found["brightness", False]["flipped"]["patients"]["mean"] == pytest.approx(0.5)
    assert found["quarter_turn", False]["cosine"]["mean"] == pytest.approx(1)  # colours do not turn
    assert found["mpp_error", False]["scores"] == found["mpp_error", True]["scores"]  # it moves the grid anyhow
    assert "flipped slides" in (tmp_path / "shift/shift.html").read_text()


def test_a_change_that_leaves_no_tissue_is_named(fitted: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("EVA_CACHE", str(fitted.parent / "cache"))
    words = ["shift", str(fitted), "--changes", "brightness=-0.9", "--move_grid", "--workers", "0", "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "shift")]) == 1
    assert "Under brightness -0.9: Expected tissue on the slides" in capsys.readouterr().err


def test_bags_of_a_shift_are_others_and_patches_stay_unless_the_grid_moves(job: Job):
    def paths(dataset) -> set[Path]:
        of = replace(job, dataset=dataset)
        wanted = missing_bags([_model(of)], _reading(of))
        return {_model(of).key.path(w.file, w.identity) for w in wanted}

    darker = Shift("brightness", brightness, -0.5)
    every = [
        paths(of)
        for of in (job.dataset, shifted_slides(job.dataset, darker, False), shifted_slides(job.dataset, darker, True))
    ]
    assert len(set.union(*every)) == 3 * 12


def test_a_slide_whose_stated_mpp_gets_coarser_than_asked_is_read_all_the_same(slides: Path):
    path = str(next(slides.glob("*.tif")))
    section, wide = SlideLevel(mpp=0.5, size=64, patches=2, tissue=0.4), Shift("mpp_error", mpp_error, -0.2)
    wanted = Wanted(SlideFile("a", path), "identity", (0,))
    patches = BagPatches([wanted], section, [lambda image: torch.from_numpy(image.copy())], 2, None)
    patches.shift = slide_shift(wide, grid=False)
    _, batch, end = patches
    assert isinstance(end, End)
    assert not end.error
    assert isinstance(batch, Batch)


def test_some_patches_of_some_slides_are_looked_at(job: Job):
    half, wide = Shift("brightness", brightness, -0.5), Shift("mpp_error", mpp_error, 0.5)
    number = 0
    for look in looks_at_patches(job):
        number += 1
        as_it_is = look(None)
        assert as_it_is.shape == (64, 64, 3)
        assert np.abs(look(half).astype(int) - as_it_is / 2).max() <= 2
        assert look(wide).shape == (64, 64, 3)
    assert number == 12 * 5
