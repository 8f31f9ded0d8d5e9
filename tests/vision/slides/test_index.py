"""The index: everything of a slide comes back from it, whatever one slide does and whenever the process is killed."""

import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import openslide
import pytest

from eva_core.errors import EvaError, UsageError
from eva_vision.phantom_slides import write_phantom_slide
from eva_vision.slides.building import Indexed, build, here, in_processes, index_slide, on_ray
from eva_vision.slides.index import BLOBS, LINES, Index, Writer
from eva_vision.slides.mask import TissueMask
from eva_vision.slides.reader import OpenSlideSlide, open_slide
from eva_vision.slides.remote import Blob
from eva_vision.slides.sampling import Sampler, Sampling
from eva_vision.slides.tiff import TiffSlide, Undecodable
from eva_vision.slides.tissue import tissue_mask


def built(paths, output, run=here, tissue="hsv", mpp=None):
    return build([str(path) for path in paths], Path(output), tissue, mpp, run)


@pytest.fixture
def three(slides, tmp_path):
    """Copies that a test may damage."""
    folder = tmp_path / "slides"
    folder.mkdir()
    return [Path(shutil.copy(slides[name], folder / f"{name}.svs")) for name in ("odd", "rgb", "ycbcr")]


def test_everything_of_a_slide_comes_back(slides, three, plain, tmp_path):
    index = built([*three, plain], tmp_path / "index")
    assert len(index) == 4
    assert [entry.path for entry in index.entries] == sorted(str(path) for path in (*three, plain))
    for number, entry in enumerate(index.entries):
        with open_slide(entry.path) as other, index.open(number) as slide, index.open(number, exact=True) as exact:
            assert type(slide) is type(other)
            assert (slide.mpp, slide.vendor, slide.levels) == (other.mpp, other.vendor, other.levels)
            assert (entry.width, entry.height, entry.mpp) == (other.levels[0].width, other.levels[0].height, other.mpp)
            assert entry.levels == tuple((level.width, level.height) for level in other.levels)
            assert np.array_equal(slide.read(50, 60, 100, 1.0), other.read(50, 60, 100, 1.0))
            assert exact.read_patch(50, 60, 40, 1.0).reduce == 1
            assert np.array_equal(index.mask(number).pixels, tissue_mask(other).pixels)
            assert entry.area == index.mask(number).area
        content = Path(entry.path).read_bytes()
        assert entry.sha256 == hashlib.sha256(content[:65536] + str(len(content)).encode()).hexdigest()
        assert entry.bytes == len(content)
        fast = isinstance(slide, TiffSlide)
        assert (entry.reader, entry.agreed) == (("fast", True) if fast else ("openslide", None))
    assert {entry.reader for entry in index.entries} == {"fast", "openslide"}


def test_a_slide_is_found_by_its_path(three, tmp_path):
    index = built([*three, tmp_path / "gone.svs"], tmp_path / "index")
    assert [index.number(str(path)) for path in three] == [0, 1, 2]
    for path in ("/a", str(tmp_path / "gone.svs"), "/zzz"):
        with pytest.raises(UsageError, match="is not there"):
            index.number(path)


def test_patches_are_sampled_and_read_by_the_index(three, tmp_path):
    index = built(three, tmp_path / "index")
    sampler = Sampler(index.entries, index.mask, Sampling(size=64))
    for n in range(12):
        place = sampler.place(n)
        with index.open(place.slide) as slide:
            patch = slide.read_patch(place.x, place.y, place.size, place.mpp)
        assert patch.inside == 1
        assert patch.pixels.mean() < 235
    again = pickle.loads(pickle.dumps(index))
    assert Sampler(again.entries, again.mask, Sampling(size=64)).place(5) == sampler.place(5)


def test_bad_slides_are_listed_and_tried_again(three, tmp_path):
    truncated, text, gone = three[0], three[0].with_name("notes.svs"), three[0].with_name("gone.svs")
    whole = truncated.read_bytes()
    truncated.write_bytes(whole[: len(whole) // 2])
    text.write_text("not a slide")
    index = built([*three, text, gone], tmp_path / "index")
    assert [entry.name for entry in index.entries] == ["rgb.svs", "ycbcr.svs"]
    reasons = {entry.name: entry.error for entry in index.failed}
    assert set(reasons) == {"odd.svs", "notes.svs", "gone.svs"}
    assert all("\n" not in reason and len(reason) > 10 for reason in reasons.values())
    truncated.write_bytes(whole)
    index = built([*three, text], tmp_path / "index")
    assert [entry.name for entry in index.entries] == ["odd.svs", "rgb.svs", "ycbcr.svs"]


def test_a_slide_without_mpp_takes_the_given_one(slides, tmp_path):
    paths = [slides["no_mpp"], slides["single"]]
    (failed,) = built(paths, tmp_path / "none").failed
    assert "micrometres per pixel" in failed.error
    index = built(paths, tmp_path / "given", mpp=0.3)
    assert {entry.name: entry.mpp for entry in index.entries} == {"no_mpp.svs": 0.3, "single.svs": 0.5}
    with index.open(0) as slide:
        assert slide.mpp == 0.3


def test_only_what_is_new_or_changed_is_indexed(three, tmp_path):
    seen: list[str] = []

    def run(work, paths):
        seen.extend(Path(path).name for path in paths)
        return here(work, paths)

    output = tmp_path / "index"
    built(three[:2], output, run)
    built(three, output, run)
    assert seen == ["odd.svs", "rgb.svs", "ycbcr.svs"]
    os.utime(three[0], ns=(1, 1))
    write_phantom_slide(three[1], 900, 700, seed=9, levels=1)
    index = built(three, output, run)
    assert seen[3:] == ["odd.svs", "rgb.svs"]
    assert [entry.width for entry in index.entries] == [1803, 900, 1800]
    with index.open(1) as slide:
        assert slide.levels[0].width == 900
    assert len(built(three[:1], output)) == 3  # what is not asked for stays


def test_where_the_fast_path_differs_openslide_reads(three, tmp_path, monkeypatch):
    monkeypatch.setattr("eva_vision.slides.building.agrees", lambda slide: False)
    index = built(three[:1], tmp_path / "index")
    assert (index.entries[0].reader, index.entries[0].agreed) == ("openslide", False)
    with index.open(0) as slide:
        assert isinstance(slide, OpenSlideSlide)


def test_only_a_format_that_openslide_does_not_open_is_not_compared(three, tmp_path, monkeypatch):
    def unknown(path):
        raise openslide.OpenSlideUnsupportedFormatError("Unsupported or missing image file")

    monkeypatch.setattr("openslide.OpenSlide", unknown)
    index = built(three[:1], tmp_path / "unknown")
    assert (index.entries[0].reader, index.entries[0].agreed) == ("fast", None)
    monkeypatch.undo()

    def undecoded(self, *region):
        raise EvaError("Could not read it.")

    monkeypatch.setattr(OpenSlideSlide, "_region", undecoded)
    index = built(three[:1], tmp_path / "undecoded")
    assert [entry.error for entry in index.failed] == ["Could not read it."]


def test_storage_that_fails_while_comparing_fails_the_slide(web, tmp_path, monkeypatch):
    """Whichever of the two readers needs the bytes; later they are compared."""
    url = f"http://127.0.0.1:{web.server_port}/ycbcr.svs"
    monkeypatch.setattr("eva_vision.slides.remote.PATIENCE", 0.2)
    for step in ("reader.sparse_copy", "tiff.TiffSlide._assemble"):

        def dies(*args):
            web.down_until = float("inf")
            try:
                Blob(url).ranges([(0, 10)])
            finally:
                web.down_until = 0  # it is back at once: the slide is not let through for it

        with monkeypatch.context() as patch:
            patch.setattr(f"eva_vision.slides.{step}", dies)
            index = built([url], tmp_path / "index")
        assert "Could not read" in index.failed[0].error
        assert not len(index)
    assert built([url], tmp_path / "index").entries[0].agreed is True


def test_a_tile_that_does_not_decode_is_read_by_openslide(three, monkeypatch):
    def damaged(self, *args):
        raise Undecodable("no JPEG stream")

    monkeypatch.setattr(TiffSlide, "_decode", damaged)
    found = index_slide(str(three[0]), "hsv", None)
    assert (found.entry["reader"], found.entry["agreed"]) == ("openslide", False)


def test_an_index_has_one_method_and_one_writer(three, tmp_path):
    output = tmp_path / "index"
    built(three[:1], output)
    with pytest.raises(UsageError, match=r"Expected --tissue hsv .* but got otsu"):
        built(three, output, tissue="otsu")
    with pytest.raises(UsageError, match="Unknown tissue"):
        built(three, output, tissue="magic")
    with Writer(output, "hsv"), pytest.raises(UsageError, match="another one writes it"):
        built(three, output)
    assert built(three[:1], tmp_path / "other", tissue="otsu").tissue == "otsu"


def test_a_folder_without_an_index_is_told(tmp_path):
    with pytest.raises(UsageError, match="there is none"):
        Index(tmp_path)
    (tmp_path / BLOBS).touch()
    for text in ("", '{"a": 1}\n', '{"eva_index": 99}\n', "no json\n", '{"eva_index": 1, "tissue": "hsv"}\n{"a": 1}\n'):
        (tmp_path / LINES).write_text(text)
        with pytest.raises(UsageError, match=r"Expected an index"):
            Index(tmp_path)


def test_a_cut_last_line_and_lost_blobs_are_done_again(three, tmp_path):
    output = tmp_path / "index"
    built(three, output)
    lines, blobs = output / LINES, output / BLOBS
    whole = lines.read_bytes()
    for cut in range(1, 60, 7):
        lines.write_bytes(whole[:-cut])
        assert len(Index(output)) == 2
        assert len(built(three, output)) == 3
        assert lines.read_bytes().startswith(whole[: whole[:-1].rfind(b"\n") + 1])
    with blobs.open("r+b") as file:
        file.truncate(blobs.stat().st_size - 5)
    assert len(Index(output)) == 2
    assert len(built(three, output)) == 3


def test_damaged_blobs_are_told(three, tmp_path):
    output = tmp_path / "index"
    built(three[:1], output)
    content = bytearray((output / BLOBS).read_bytes())
    content[len(content) // 2] ^= 1
    (output / BLOBS).write_bytes(content)
    index = Index(output)
    for use in (index.open, index.mask):
        with pytest.raises(EvaError, match="its part is damaged"):
            use(0)


# Many processes.


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
        (folder / f"{n:02d}.svs").hardlink_to(three[n % 3])
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
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    found = built([*three, tmp_path / "gone.svs"], tmp_path / "ray", partial(on_ray, address="local"))
    assert [entry.name for entry in found.entries] == ["odd.svs", "rgb.svs", "ycbcr.svs"]
    assert "gone.svs" in found.failed[0].error


def test_ray_that_is_not_installed_is_told(three, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="Expected ray for --engine ray"):
        built(three, tmp_path / "ray", partial(on_ray, address=None))


# Size and speed.


def test_two_thousand_slides_open_at_once(three, tmp_path):
    """So 30,000, fifteen times as many, open in seconds, at about 100 kB a slide."""
    (one,) = [index_slide(str(three[2]), "hsv", None)]
    output = tmp_path / "index"
    with Writer(output, "hsv") as writer:
        for n in range(2000):
            writer.add({**one.entry, "path": f"/data/{n:05d}.svs"}, one.layout, one.mask)
    started = time.perf_counter()
    index = Index(output)
    assert time.perf_counter() - started < 1
    assert len(index) == 2000
    assert (output / LINES).stat().st_size < 2000 * 1000
    masks = [index.mask(n) for n in range(300)]
    assert isinstance(masks[0], TissueMask)
    assert index.mask(299) is masks[299]
    assert index.mask(0) is not masks[0]
