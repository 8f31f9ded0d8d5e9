import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest
import ray

from eva_core.errors import EvaError
from eva_core.job import Job
from eva_vision.slide_level.bags.bag_files import read_rows
from eva_vision.slide_level.bags.extract import extract_bags
from tests.vision.slide_level.bags.test_extract import of, silent


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def bags(job: Job) -> list[np.ndarray]:
    model, reading = of(job)
    return [read_rows(model.key.path(file, identity)) for file, identity in reading.slides.items()]


def test_the_bags_are_the_same_though_a_worker_is_killed(job: Job, cluster, tmp_path_factory, monkeypatch):
    model, reading = of(job)
    extract_bags([model], reading, job.how, silent)
    here = bags(job)
    monkeypatch.setenv("EVA_CACHE", str(tmp_path_factory.mktemp("ray")))
    model, reading = of(job)
    killed = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        is_at_work = False
        while not killed and time.monotonic() < deadline:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    is_at_work = (process.cmdline() or [""])[0].startswith("ray::_call")
                if is_at_work:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    break
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    assert extract_bags([model], reading, replace(job.how, engine="ray"), silent) == []
    thread.join()
    assert killed
    assert all(np.array_equal(a, b) for a, b in zip(here, bags(job), strict=True))


def test_a_slide_that_does_not_read_is_said_from_there(job: Job, cluster, tmp_path):
    from eva_vision.slide_level.contracts import SlideFile

    model, reading = of(job)
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"no slide")
    reading = replace(reading, slides={SlideFile("bad.tif", str(bad)): "identity"})
    with pytest.raises(EvaError, match=r"Cannot read slide 'bad\.tif'"):
        extract_bags([model], reading, replace(job.how, engine="ray"), silent)
