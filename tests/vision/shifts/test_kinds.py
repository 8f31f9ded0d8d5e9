from pathlib import Path

import numpy as np
import pytest

from eva_core.commands.predict import job_of_result
from eva_core.errors import UsageError
from eva_vision.shifts.contracts import Shift
from eva_vision.shifts.kinds import KINDS, kind_of
from eva_vision.shifts.recording import brightness


def test_kinds_without_decisions_are_refused():
    assert kind_of("classification", "out/a").unit == "images"
    with pytest.raises(UsageError, match="classification or slide_classification, but out/a is of slide_survival"):
        kind_of("slide_survival", "out/a")


def test_images_are_looked_at_and_each_is_read_once(fitted: Path, monkeypatch: pytest.MonkeyPatch):
    job, kind = job_of_result(fitted, ["--workers", "0"]), KINDS["classification"]
    assert kind.knows_mpp(job.dataset)
    reads = []
    image = type(job.dataset).image
    monkeypatch.setattr(type(job.dataset), "image", lambda self, s: (reads.append(s.id), image(self, s))[1])
    for look in kind.looks(job):
        assert np.array_equal(look(Shift("brightness", brightness, 0.0)), look(None))
    assert reads == [sample.id for sample in job.dataset.samples]
