import errno
import fcntl
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from filelock import FileLock

from eva_core.errors import EvaError, UsageError
from eva_vision.slides import open_slide
from eva_vision.slides.reading.bucket_keys import Object
from eva_vision.slides.reading.openslide import OpenSlideSlide
from eva_vision.slides.reading.staging import CacheFull, Staged, stage


@pytest.fixture
def far(web, plain):
    return f"http://127.0.0.1:{web.server_port}/plain.tif"


def copies(cache):
    return sorted(path.name for path in (cache / "slides").glob("*/*") if path.name != ".lease")


def test_what_only_openslide_reads_is_copied_once(far, plain, web, cache):
    with open_slide(far) as slide, open_slide(plain) as near:
        assert isinstance(slide, OpenSlideSlide)
        assert (slide.path, slide.name) == (far, "plain.tif")
        assert np.array_equal(slide.read(30, 40, 200, 0.5), near.read(30, 40, 200, 0.5))
    sent = web.sent
    with open_slide(far) as slide:
        assert slide.mpp == pytest.approx(0.5)
    assert web.sent - sent < 300_000  # the header alone
    assert copies(cache) == ["plain.tif"]


def test_a_copy_appears_when_it_is_whole(far, plain, web, cache, monkeypatch):
    monkeypatch.setattr("eva_vision.slides.reading.staging._PIECE", 50_000)
    monkeypatch.setattr("eva_vision.slides.reading.blobs.PATIENCE", 0.2)
    web.faults.extend(["", "", *["503"] * 30])
    with pytest.raises(EvaError, match="Could not read"):
        stage(far)
    assert copies(cache) in ([], ["plain.tif"])
    assert not [f for f in (cache / "slides").iterdir() if f.is_dir() and f.suffix != ".part"]
    web.faults.clear()
    staged = stage(far)
    assert staged.path.read_bytes() == plain.read_bytes()
    staged.close()


def test_the_longest_unused_goes_but_never_an_open_one(web, plain, slides, cache, monkeypatch, tmp_path):
    web.root = tmp_path
    names = [f"{letter}.tif" for letter in "abcd"]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(plain.read_bytes() + bytes(number))
    size = plain.stat().st_size
    monkeypatch.setenv("EVA_SLIDES_CACHE_GB", str(2.5 * size / 1e9))

    def staged(name):
        return stage(f"http://127.0.0.1:{web.server_port}/{name}")

    held = staged("a.tif")
    staged("b.tif").close()
    assert copies(cache) == ["a.tif", "b.tif"]
    other = staged("c.tif")  # a is older, but open
    assert copies(cache) == ["a.tif", "c.tif"]
    with pytest.raises(CacheFull, match="EVA_SLIDES_CACHE_GB higher"):
        staged("d.tif")
    assert held.path.read_bytes() == plain.read_bytes()
    held.close()
    staged("d.tif").close()
    assert copies(cache) == ["c.tif", "d.tif"]
    other.close()
    for wrong in ("much", "0", "nan"):
        monkeypatch.setenv("EVA_SLIDES_CACHE_GB", wrong)
        with pytest.raises(UsageError, match="a number of gigabytes above 0"):
            staged("a.tif")


def test_a_slide_of_several_files(web, tmp_path):
    """A MIRAX slide is a file and the folder of its name."""
    web.root = tmp_path
    (tmp_path / "x.mrxs").write_bytes(b"index")
    with pytest.raises(UsageError, match="one of several"):
        stage(f"http://127.0.0.1:{web.server_port}/x.mrxs")


def test_all_files_of_a_slide_come_along(monkeypatch):
    content = {"c/x.mrxs": b"index", "c/x/Data0.dat": b"tiles", "c/x/Slidedat.ini": b"[A]", "c/y.mrxs": b"other"}

    def get(self, span):
        return content[self.key][slice(*span)]

    def below(root, prefix):
        return {key: Object(len(data), "1") for key, data in content.items() if key.startswith(f"{prefix}/")}

    monkeypatch.setattr("eva_vision.slides.reading.blobs.Blob._get", get)
    monkeypatch.setattr(
        "eva_vision.slides.reading.blobs.Blob.described", lambda self: Object(len(content[self.key]), "1")
    )
    monkeypatch.setattr("eva_vision.slides.reading.staging.list_objects", below)
    staged = stage("s3://b/c/x.mrxs")
    found = {str(f.relative_to(staged.path.parent)) for f in staged.path.parent.rglob("*") if f.is_file()}
    assert found - {".lease"} == {"x.mrxs", "x/Data0.dat", "x/Slidedat.ini"}
    assert staged.path.read_bytes() == b"index"
    staged.close()


NEW_YEAR, LATER = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}),
        ({"ETag": '"1"', "Last-Modified": NEW_YEAR}, {"ETag": '"2"', "Last-Modified": NEW_YEAR}),
        ({"Last-Modified": NEW_YEAR}, {"Last-Modified": LATER}),
        ({"ETag": '"same"', "Last-Modified": NEW_YEAR}, {"ETag": '"same"', "Last-Modified": LATER}),
        ({}, {}),  # then its content tells
    ],
)
def test_an_object_that_is_overwritten_by_one_of_the_same_size_is_copied_again(
    web, plain, tmp_path, before, after, cache
):
    web.root = tmp_path
    content = plain.read_bytes()
    for validators, data in ((before, content), (after, content[:-40_000] + bytes(40_000)), (before, content)):
        web.validators = validators
        (tmp_path / "a.tif").write_bytes(data)
        with stage(f"http://127.0.0.1:{web.server_port}/a.tif") as staged:
            assert staged.path.read_bytes() == data
    assert len(copies(cache)) == 2  # the first was still there


def test_an_object_overwritten_while_it_is_copied_is_an_error(web, far, cache, monkeypatch):
    from eva_vision.slides.reading import staging

    fetch = staging._fetch

    def overwritten(*arguments):
        fetch(*arguments)
        web.validators = {"ETag": '"other"'}

    monkeypatch.setattr(staging, "_fetch", overwritten)
    with pytest.raises(EvaError, match=r"but it was overwritten\. Open it again"):
        stage(far)
    assert copies(cache) == []
    with stage(far) as staged:
        assert staged.path.is_file()


@pytest.mark.parametrize("part", ["c/x.mrxs", "c/x/Data0.dat", "c/x/Slidedat.ini"])
def test_any_file_of_a_slide_that_is_overwritten_makes_another_copy(monkeypatch, part):
    versions = {"c/x.mrxs": "1", "c/x/Data0.dat": "1", "c/x/Slidedat.ini": "1"}
    monkeypatch.setattr("eva_vision.slides.reading.blobs.Blob._get", lambda self, span: versions[self.key].encode())
    monkeypatch.setattr("eva_vision.slides.reading.blobs.Blob.described", lambda self: Object(1, versions[self.key]))
    monkeypatch.setattr(
        "eva_vision.slides.reading.staging.list_objects",
        lambda root, prefix: {k: Object(1, v) for k, v in versions.items() if k.startswith(f"{prefix}/")},
    )
    for version in ("1", "2"):
        versions[part] = version
        with stage("s3://b/c/x.mrxs") as staged:
            assert (staged.path.parent.parent / staged.path.parent / part.removeprefix("c/")).read_text() == version


@pytest.fixture
def many(web, plain, tmp_path):
    """Addresses of six slides of the same size."""
    web.root = tmp_path
    for letter in "abcdef":
        (tmp_path / f"{letter}.tif").write_bytes(plain.read_bytes() + letter.encode())
    return {letter: f"http://127.0.0.1:{web.server_port}/{letter}.tif" for letter in "abcdef"}


@pytest.fixture
def room(plain, monkeypatch):
    """Sets how many of these slides the cache may hold."""
    size = plain.stat().st_size + 1
    return lambda slides: monkeypatch.setenv("EVA_SLIDES_CACHE_GB", str(slides * size / 1e9))


def bytes_of(cache):
    return sum(f.stat().st_size for f in (cache / "slides").rglob("*") if f.is_file())


def test_several_at_once_keep_to_the_bound(many, room, plain, web, cache):
    """Six, of which two have room: the others are told, and the cache is never larger."""
    room(2.5)
    web.latency = 0.1
    most, over = 0, threading.Event()

    def watch():
        nonlocal most
        while not over.wait(0.005):
            with suppress(FileNotFoundError):  # a copy that appears meanwhile
                most = max(most, bytes_of(cache))

    def one(url):
        try:
            return stage(url)
        except CacheFull as error:
            return error

    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(one, many.values()))
    over.set()
    watching.join()
    held = [copy for copy in found if isinstance(copy, Staged)]
    assert len(held) == 2
    assert all(copy.path.read_bytes()[:-1] == plain.read_bytes() for copy in held)
    full = [str(error) for error in found if isinstance(error, CacheFull)]
    assert len(full) == 4
    assert all("was not copied. Set EVA_SLIDES_CACHE_GB higher" in line and "\n" not in line for line in full)
    assert 0 < most <= 2.5 * (plain.stat().st_size + 1)
    for copy in held:
        copy.close()
    for url in many.values():  # now that none is open, one after the other has room
        stage(url).close()
    assert len(copies(cache)) == 2


def test_what_a_killed_process_left_goes_and_what_is_under_way_stays(many, room, plain, cache):
    room(2.5)
    stage(many["a"]).close()
    left = cache / "slides" / "0123.99.part"
    left.mkdir()
    (left / "x.tif").write_bytes(plain.read_bytes())
    with (left / ".lease").open("ab") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        held = stage(many["b"])  # in the place of the copy, which nobody has open
        assert left.is_dir()
        with pytest.raises(CacheFull):
            stage(many["c"])
    stage(many["c"]).close()
    assert not left.exists()
    assert copies(cache) == ["b.tif", "c.tif"]
    held.close()
    left.mkdir()  # of a version without leases
    stage(many["c"]).close()
    stage(many["d"]).close()
    assert not left.exists()


def test_a_killed_copy_is_made_again(many, room, web, plain, cache):
    room(1.5)
    web.latency = 1.0  # so long the copy is under way
    code = "import sys; from eva_vision.slides.reading.staging import stage; stage(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", code, many["a"]], stderr=subprocess.DEVNULL)
    parts = (cache / "slides").glob
    until = time.monotonic() + 30
    while not list(parts("*.part/a.tif")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    web.latency = 0
    staged = stage(many["a"])
    assert staged.path.read_bytes()[:-1] == plain.read_bytes()
    assert not list(parts("*.part"))
    staged.close()


def test_a_copy_that_goes_while_it_is_asked_for_is_made_again(many, cache):
    """Another process holds the cache, and removes the copy before this one could lease it."""
    stage(many["a"]).close()
    with ThreadPoolExecutor(1) as pool:
        with FileLock(cache / "slides" / ".lock"):
            asked = pool.submit(stage, many["a"])
            time.sleep(0.2)
            assert not asked.done()
            (copy,) = (f for f in (cache / "slides").iterdir() if f.is_dir())
            shutil.rmtree(copy)
        staged = asked.result(timeout=30)
    assert staged.path.is_file()
    staged.close()


def test_a_failed_copy_gives_its_room_back(many, room, web, cache, monkeypatch):
    room(1.5)
    monkeypatch.setattr("eva_vision.slides.reading.blobs.PATIENCE", 0.1)
    web.faults.extend(["503"] * 30)
    with pytest.raises(EvaError, match="Could not read"):
        stage(many["a"])
    assert not [f for f in (cache / "slides").iterdir() if f.is_dir()]
    web.faults.clear()
    stage(many["b"]).close()
    assert copies(cache) == ["b.tif"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_room(many, cache, monkeypatch, number):
    def full(*_):
        raise OSError(number, "full")

    with monkeypatch.context() as patch:
        patch.setattr("eva_vision.slides.reading.staging.os.fsync", full)
        with pytest.raises(CacheFull, match="Free space or set EVA_CACHE elsewhere"):
            stage(many["a"])
    assert not [f for f in (cache / "slides").iterdir() if f.is_dir()]
    stage(many["a"]).close()


def test_a_slide_larger_than_the_cache_says_so(many, room, cache):
    room(1.5)
    held = stage(many["a"])
    room(0.5)
    with pytest.raises(EvaError, match=r"at most .* GB, which the cache may hold.*EVA_SLIDES_CACHE_GB higher") as told:
        stage(many["b"])
    assert not isinstance(told.value, CacheFull)  # closing others would not help
    held.close()
    assert copies(cache) == ["a.tif"]
