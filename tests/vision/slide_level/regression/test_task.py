from pathlib import Path

import pytest

from eva_core.api import fit
from eva_core.errors import UsageError
from eva_core.task import task_named
from eva_vision.datasets.slide_folder import SlideFolder
from tests.vision.slide_level.conftest import HOW, quick, relabelled


def test_values_of_patients_are_scored_and_shown(slides: Path, tmp_path: Path):
    root = relabelled(slides, tmp_path / "own", lambda n: {"value": n % 2 * 3 + 0.01 * n})
    results = fit("colour_stats", SlideFolder(str(root)), None, quick("slide_regression"), tmp_path / "out", HOW)
    assert (results["task"], results["identity"]["head"]) == ("slide_regression", "ridge")
    assert results["main"]["mean"] > 0.8  # the colour tells the value
    assert results["baselines"]["metadata"]["splits"]["cv"]["metrics"]["r2"]["mean"] < 0.5
    page = (tmp_path / "out" / "report.html").read_text()
    assert '"kind":"scatter"' in page
    scores = task_named("slide_regression").read(tmp_path / "out", "cv")
    assert scores.predicted.shape == (1, 12)


def test_targets_are_numbers(slides: Path, tmp_path: Path):
    root = relabelled(slides, tmp_path, lambda n: {"value": n})
    dataset = SlideFolder(str(root))
    dataset.samples = [type(s)(s.id, s.split, "high", group=s.group) for s in dataset.samples]
    with pytest.raises(UsageError, match="Expected targets of dataset 'slide_folder' as numbers"):
        task_named("slide_regression").check_targets(dataset)
