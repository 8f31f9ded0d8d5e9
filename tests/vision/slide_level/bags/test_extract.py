from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_core.job import Job
from eva_vision.slide_level.bags import extract as module
from eva_vision.slide_level.bags.bag_files import read_rows
from eva_vision.slide_level.bags.bag_key import bag_key
from eva_vision.slide_level.bags.extract import extract_bags, missing_bags
from eva_vision.slide_level.bags.fill import Model, Reading
from eva_vision.slide_level.contracts import SlideFile


def of(job: Job) -> tuple[Model, Reading]:
    section = job.resolved.section
    model = Model(bag_key(job.backbone, job.protocol, section), job.backbone, job.protocol)
    return model, Reading(job.dataset.identities(), section)


def silent(line: str) -> None:
    """Nobody listens."""


def test_every_slide_gets_a_bag_once(job: Job, monkeypatch: pytest.MonkeyPatch):
    model, reading = of(job)
    assert len(missing_bags([model], reading)) == 12
    assert extract_bags([model], reading, job.how, silent) == []
    assert missing_bags([model], reading) == []
    monkeypatch.setattr(module, "fill", None)
    assert extract_bags([model], reading, job.how, silent) == []  # nothing is read again
    paths = [model.key.path(file, identity) for file, identity in reading.slides.items()]
    assert {read_rows(path).shape for path in paths} == {(6, 6)}
    assert all(np.array_equal(read_rows(path), read_rows(path, "colour_stats")) for path in paths)  # this model's own


def test_a_bag_is_the_same_beside_any_others_and_with_any_workers(job: Job, tmp_path_factory, monkeypatch):
    model, reading = of(job)
    extract_bags([model], reading, job.how, silent)
    file, identity = next(iter(reading.slides.items()))
    among_others = read_rows(model.key.path(file, identity))
    monkeypatch.setenv("EVA_CACHE", str(tmp_path_factory.mktemp("other")))
    extract_bags([model], replace(reading, slides={file: identity}), replace(job.how, workers=2), silent)
    assert np.array_equal(read_rows(model.key.path(file, identity)), among_others)


def test_a_slide_that_does_not_read_ends_the_work_or_is_left_out(job: Job, tmp_path: Path, capsys):
    model, reading = of(job)
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"no slide")
    file = SlideFile("bad.tif", str(bad))
    reading = replace(reading, slides={file: "identity", **reading.slides})
    with pytest.raises(EvaError, match=r"Cannot read slide 'bad.tif': .* --on_error skip"):
        extract_bags([model], reading, job.how, silent)
    assert extract_bags([model], reading, replace(job.how, on_error="skip"), silent) == [file]
    assert "bad.tif" in capsys.readouterr().err
    assert [slide.file for slide in missing_bags([model], reading)] == [file]
