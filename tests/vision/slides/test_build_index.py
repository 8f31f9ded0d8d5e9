import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_vision.slides.build_index import Indexed, in_processes, on_ray
from eva_vision.slides.index import LINES, Index
from tests.vision.slides.test_index import built


@pytest.fixture
def three(slides, tmp_path):
    """Copies that a test may damage."""
    folder = tmp_path / "slides"
    folder.mkdir()
    return [Path(shutil.copy(slides[name], folder / f"{name}.svs")) for name in ("odd", "rgb", "ycbcr")]


def dying(path: str) -> Indexed:
    """A reader that kills its process at some slides."""
    if "fatal" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    return Indexed({"path": path, "bytes": 1, "modified": 0})


def test_a_slide_that_kills_its_process_fails_alone():
    paths = [f"{'fatal' if n == 2 else 'good'}{n}" for n in range(6)]
    found = {part.entry["path"]: part.entry.get("error", "") for part in in_processes(dying, paths, 2)}
    assert set(found) == set(paths)
    assert {path for path, error in found.items() if error} == {"fatal2"}
    assert "process that read it died" in found["fatal2"]


def test_processes_find_what_one_does(three, tmp_path):
    alone = built(three, tmp_path / "one")
    together = built(three, tmp_path / "two", partial(in_processes, workers=2))
    for n, (one, two) in enumerate(zip(alone.entries, together.entries, strict=True)):
        assert (one.path, one.sha256, one.area) == (two.path, two.sha256, two.area)
        assert np.array_equal(alone.mask(n).pixels, together.mask(n).pixels)


def test_a_killed_process_leaves_a_whole_index_and_no_workers(three, tmp_path):
    """SIGKILL in the middle; the same call goes on."""
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(40):
        shutil.copy(three[n % 3], folder / f"{n:02d}.svs")  # a hard link is the same slide
    output = tmp_path / "index"
    command = [sys.executable, "-m", "eva_core.cli", "slides", "index", f"{folder}/*.svs", "--output", str(output)]
    process = subprocess.Popen([*command, "--workers", "2"], start_new_session=True, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (output / LINES).exists() or (output / LINES).read_bytes().count(b"\n") < 6:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = len(Index(output))
    assert 0 < done < 40
    until = time.monotonic() + 20
    while members(process.pid):
        assert time.monotonic() < until, "workers outlive their parent"
        time.sleep(0.05)
    before = (output / LINES).read_bytes()
    assert len(built(sorted(folder.iterdir()), output)) == 40
    assert (output / LINES).read_bytes().startswith(before[: before.rfind(b"\n") + 1])


def members(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_slides_over_ray(three, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    found = built([*three, tmp_path / "gone.svs"], tmp_path / "ray", partial(on_ray, address="local"))
    assert [Path(entry.name).name for entry in found.entries] == ["odd.svs", "rgb.svs", "ycbcr.svs"]
    assert "gone.svs" in found.failed[0].error


def test_ray_that_is_not_installed_is_told(three, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="Expected ray for --engine ray"):
        built(three, tmp_path / "ray", partial(on_ray, address=None))
