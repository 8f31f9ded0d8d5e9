import multiprocessing
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eva_core.config.jobs import job_of
from eva_core.config.protocols import load_protocol
from eva_core.errors import EvaError
from eva_core.job import Job
from eva_core.store import hdf5_files
from eva_vision.datasets.slide_folder import SlideFolder
from eva_vision.models.timm import timm_model
from eva_vision.slide_level.bags import extract as module
from eva_vision.slide_level.bags import patches
from eva_vision.slide_level.bags.bag_files import BagWriter, read_bag, read_rows
from eva_vision.slide_level.bags.bag_key import bag_key
from eva_vision.slide_level.bags.extract import extract_bags, missing_bags
from eva_vision.slide_level.bags.fill import Model, Reading
from eva_vision.slide_level.contracts import SlideFile
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.changed_slides import head_hash
from tests.vision.slide_level.conftest import HOW, write_manifest
from tests.vision.slides.conftest import FileServer, Ranged


def of(job: Job) -> tuple[Model, Reading]:
    section = job.resolved.section
    model = Model(bag_key(job.backbone, job.protocol, section), job.backbone, job.protocol, job.model)
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


@pytest.mark.parametrize("after", [2, 5])
def test_a_killed_run_is_gone_on_from_and_gives_the_same_bags(job: Job, tmp_path_factory, monkeypatch, after: int):
    """Kill -9 once some parts or bags are there: what they hold is not read again."""
    model, reading = of(job)
    extract_bags([model], reading, job.how, silent)
    whole = bags(model, reading)
    cache = tmp_path_factory.mktemp("killed")
    monkeypatch.setenv("EVA_CACHE", str(cache))
    process = multiprocessing.get_context("spawn").Process(
        target=_extract_slowly, args=(str(job.dataset.card.access), job.resolved.section, str(cache))
    )
    process.start()
    deadline = time.monotonic() + 120
    while len([*cache.rglob("bags/**/*.part"), *cache.rglob("bags/**/*.h5")]) < after and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    left = len(missing_bags([model], reading))
    assert 0 < left <= 12
    extract_bags([model], reading, job.how, silent)
    assert all(np.array_equal(a, b) for a, b in zip(whole, bags(model, reading), strict=True))
    assert None not in [read_bag(model.key.path(file, identity)) for file, identity in reading.slides.items()]
    assert [*cache.rglob("*.part")] == []


def test_a_full_disk_in_the_middle_costs_no_finished_bag(job: Job, monkeypatch: pytest.MonkeyPatch):
    model, reading = of(job)
    write, written = hdf5_files.write, []

    def full(path: Path, columns, facts) -> None:
        if len(written) > 3:
            raise EvaError("Could not write it (No space left on device).")
        written.append(path)
        write(path, columns, facts)

    with monkeypatch.context() as patch:
        patch.setattr(hdf5_files, "write", full)
        with pytest.raises(EvaError, match="No space left"):
            extract_bags([model], reading, job.how, silent)
    assert len(missing_bags([model], reading)) == 12 - 4
    extract_bags([model], reading, job.how, silent)
    assert missing_bags([model], reading) == []


def test_an_index_gives_the_same_bags_and_no_tissue_is_looked_for(job: Job, tmp_path: Path, monkeypatch):
    model, reading = of(job)
    extract_bags([model], reading, job.how, silent)
    whole = bags(model, reading)
    index = build([file.path for file in reading.slides], tmp_path / "index", "hsv", None, in_this_process)
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(patches, "tissue_mask", None)
    extract_bags([model], replace(reading, index=index), job.how, silent)
    assert all(np.array_equal(a, b) for a, b in zip(whole, bags(model, reading), strict=True))


@pytest.mark.slow
def test_slides_behind_a_server_give_the_bags_of_those_on_disk(job: Job, tmp_path: Path, monkeypatch):
    """Each is another slide to the cache, known by its size and header; loader processes read it as this one does."""
    model, reading = of(job)
    extract_bags([model], reading, job.how, silent)
    root = Path(job.dataset.card.access)
    rows = [{"slide": f"s{n:02d}.tif", "label": "ab"[n % 2]} for n in range(2)]
    manifest = write_manifest(tmp_path, rows)
    with folder_served(root) as address:
        remote = SlideFolder(address, str(manifest))
        identities = remote.identities()
        files = [root / row["slide"] for row in rows]
        assert [*identities.values()] == [head_hash(str(file), file.stat().st_size) for file in files]
        for workers in (0, 1):
            monkeypatch.setenv("EVA_CACHE", str(tmp_path / f"cache{workers}"))
            far = Reading(identities, reading.section)
            assert extract_bags([model], far, replace(job.how, workers=workers), silent) == []
            for file, bag in zip(files, bags(model, far), strict=True):
                near = next(known for known in reading.slides if known.path == str(file))
                with monkeypatch.context() as patch:
                    patch.setenv("EVA_CACHE", str(tmp_path / "near"))
                    extract_bags([model], replace(reading, slides={near: reading.slides[near]}), job.how, silent)
                    assert np.array_equal(read_rows(model.key.path(near, reading.slides[near])), bag)


@contextmanager
def folder_served(root: Path) -> Iterator[str]:
    """A web server with the files of a folder."""
    server = FileServer(("127.0.0.1", 0), Ranged)
    server.root, server.faults, server.validators = root, deque(), {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
def test_two_devices_give_the_bags_of_one_to_the_bit(job: Job, tmp_path: Path, monkeypatch):
    model, reading = of(replace(job, backbone=timm_model(arch="test_vit", size=32)))
    extract_bags([model], reading, job.how, silent)
    one = bags(model, reading)
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "two"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extract_bags([model], reading, replace(job.how, devices=2), silent)
    assert all(np.array_equal(a, b) for a, b in zip(one, bags(model, reading), strict=True))


def test_half_precision_of_the_section_is_kept_on_disk(job: Job):
    model, reading = of(job)
    extract_bags([model], reading, job.how, silent)
    half = replace(reading, section=replace(reading.section, precision="fp16"))
    key = bag_key(job.backbone, job.protocol, half.section)
    assert key.folder != model.key.folder
    extract_bags([replace(model, key=key)], half, job.how, silent)
    for whole, bag in zip(bags(model, reading), bags(replace(model, key=key), half), strict=True):
        assert bag.dtype == np.float16
        assert np.array_equal(bag, whole.astype(np.float16))


def bags(model: Model, reading: Reading) -> list[np.ndarray]:
    return [read_rows(model.key.path(file, identity)) for file, identity in reading.slides.items()]


def _extract_slowly(root: str, section: SlideLevel, cache: str) -> None:
    """What is killed: each batch is a part, and takes a moment."""
    os.environ["EVA_CACHE"] = cache
    torch.set_num_threads(1)
    protocol = replace(load_protocol("strict"), slide_classification=section)  # type: ignore[call-arg]
    job = job_of("colour_stats", SlideFolder(root), "mean_logreg", protocol, HOW)
    model, reading = of(job)
    add = BagWriter.add

    def slowly(*arguments) -> None:
        add(*arguments)
        time.sleep(0.1)

    BagWriter.add = slowly  # type: ignore[method-assign]
    extract_bags([model], reading, replace(HOW, part_seconds=0.0), silent)
