from pathlib import Path

import pytest

from eva_core.api import fit
from eva_core.errors import UsageError
from eva_core.task import task_named
from eva_vision.datasets.slide_folder import SlideFolder
from tests.vision.slide_level.conftest import HOW, quick, relabelled


def test_survival_of_patients_is_scored_and_shown(slides: Path, tmp_path: Path):
    root = relabelled(slides, tmp_path / "own", lambda n: {"time": 10 - n % 2 * 6 + 0.1 * n, "event": int(n % 5 > 0)})
    results = fit("colour_stats", SlideFolder(str(root)), None, quick("slide_survival"), tmp_path / "out", HOW)
    assert (results["task"], results["identity"]["head"]) == ("slide_survival", "cox")
    assert results["main"]["metric"] == "c_harrell"
    assert results["main"]["mean"] > 0.6  # the colour tells who is early
    assert "Kaplan" in (tmp_path / "out" / "report.html").read_text()
    assert task_named("slide_survival").read(tmp_path / "out", "cv").risks.shape == (1, 12)


def test_events_that_are_none_are_named(slides: Path, tmp_path: Path):
    dataset = SlideFolder(str(relabelled(slides, tmp_path, lambda n: {"time": n, "event": n % 2})))
    dataset.samples = [type(s)(s.id, s.split, (1.0, 2.0), group=s.group) for s in dataset.samples]
    with pytest.raises(UsageError, match="event of each patient to be 1"):
        task_named("slide_survival").check_targets(dataset)
