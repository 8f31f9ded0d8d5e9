"""Slides over a network that fails, against the same slides on disk."""

import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.reading import blobs
from eva_vision.slides.reading.blobs import Blob, is_url
from eva_vision.slides.reading.tiff import TiffSlide, layout_of
from eva_vision.synthetic.slides import write_phantom_slide
from tests.vision.slides.tiffs import by_layout


@pytest.fixture
def url(web):
    return f"http://127.0.0.1:{web.server_port}/ycbcr.svs"


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    x=st.integers(-200, 1900),
    y=st.integers(-200, 1400),
    size=st.integers(1, 300),
    mpp=st.floats(0.2, 4, allow_nan=False),
)
def test_remote_equals_local(slides, url, x, y, size, mpp):
    if not hasattr(test_remote_equals_local, "layout"):
        test_remote_equals_local.layout = layout_of(slides["ycbcr"])
    with by_layout(url, test_remote_equals_local.layout) as far, open_slide(slides["ycbcr"]) as near:
        a, b = far.read_patch(x, y, size, mpp), near.read_patch(x, y, size, mpp)
        assert np.array_equal(a.pixels, b.pixels)
        assert (a.x, a.y, a.level, a.reduce, a.inside) == (b.x, b.y, b.level, b.reduce, b.inside)


def test_many_requests_are_under_way(slides, url, web):
    places = [(i * 37 % 1500, i * 53 % 1000, 256, 0.25) for i in range(200)]
    with open_slide(url) as far, open_slide(slides["ycbcr"]) as near:
        web.latency, web.requests, web.most_under_way, web.sent = 0.02, 0, 0, 0
        patches = far.read_many(places)
        assert all(np.array_equal(a.pixels, near.read(*p)) for a, p in zip(patches, places, strict=True))
    assert 16 <= web.most_under_way <= blobs.IN_FLIGHT  # counted, as seconds depend on what else runs here
    assert web.requests <= 2.2 * len(places)


def test_opening_takes_few_requests(url, web):
    layout = layout_of(url)
    assert web.requests <= 5
    web.requests = 0
    with by_layout(url, layout) as slide:
        assert web.requests == 0
        slide.read(300, 300, 100, 0.25)
    assert web.requests <= 2


def test_large_headers_take_few_requests(web, tmp_path, monkeypatch):
    """Directories scattered over a file larger than any block, as Aperio has them."""
    monkeypatch.setattr(blobs, "_HEAD", 2**16)
    monkeypatch.setattr(blobs, "_BLOCK", 2**17)
    monkeypatch.setattr(blobs, "_TAIL", 2**18)
    path = write_phantom_slide(tmp_path / "large.svs", 2048, 2048, levels=3, quality=95)
    assert path.stat().st_size > 8 * blobs._BLOCK
    web.root = tmp_path
    far = layout_of(f"http://127.0.0.1:{web.server_port}/large.svs")
    assert far.to_bytes() == layout_of(path).to_bytes()
    assert web.requests <= 10


def test_headers_take_bounded_memory(web, tmp_path, monkeypatch):
    for name, size in (("_HEAD", 2**12), ("_BLOCK", 2**12), ("_TAIL", 2**12), ("_KEPT", 2**13)):
        monkeypatch.setattr(blobs, name, size)
    path = write_phantom_slide(tmp_path / "a.svs", 1024, 1024, levels=3)
    web.root = tmp_path
    url = f"http://127.0.0.1:{web.server_port}/a.svs"
    assert layout_of(url).to_bytes() == layout_of(path).to_bytes()
    memory = blobs.Remembered(Blob(url))
    for at in range(0, path.stat().st_size, 2**13):
        memory.seek(at)
        assert memory.read(10) == path.read_bytes()[at : at + 10]
    assert sum(len(block) for _, block in memory.blocks) <= 2**13


@pytest.mark.parametrize("faults", [["503"] * 5, ["reset"] * 4, ["truncate"] * 4, ["503", "truncate", "reset"] * 2])
def test_what_passes_is_waited_for(slides, url, web, faults):
    with open_slide(url) as far, open_slide(slides["ycbcr"]) as near:
        web.faults = deque(faults)
        assert np.array_equal(far.read(200, 200, 300, 0.25), near.read(200, 200, 300, 0.25))
        assert not web.faults


def test_what_lasts_is_not_waited_for(slides, web):
    blob = Blob(f"http://127.0.0.1:{web.server_port}/single.svs")
    begun = time.monotonic()
    with pytest.raises(EvaError, match="416"):
        blob.ranges([(10**9, 10**9 + 10)])
    assert time.monotonic() - begun < 2


def test_a_number_in_a_name_is_no_status(slides, web, tmp_path):
    (tmp_path / "status 450.svs").write_bytes(slides["single"].read_bytes())
    web.root = tmp_path
    blob = Blob(f"http://127.0.0.1:{web.server_port}/status%20450.svs")
    web.faults = deque(["503"] * 5)
    assert blob.ranges([(0, 4)]) == [b"II*\0"]


def test_a_server_that_dies_for_seconds(slides, url, web):
    with open_slide(url) as far, open_slide(slides["ycbcr"]) as near:
        web.down_until = time.monotonic() + 2
        begun = time.monotonic()
        patches = far.read_many([(i * 20, 100, 64, 0.25) for i in range(20)])
        assert 1.5 < time.monotonic() - begun < 30
        assert all(np.array_equal(p.pixels, near.read(i * 20, 100, 64, 0.25)) for i, p in enumerate(patches))


def test_a_server_that_stays_dead_is_an_error(url, web, monkeypatch):
    monkeypatch.setattr(blobs, "PATIENCE", 1.0)
    with open_slide(url) as far:
        web.down_until = time.monotonic() + 60
        begun = time.monotonic()
        with pytest.raises(EvaError, match="Could not read http"):
            far.read_many([(0, 0, 64, 0.25)] * 200)
        assert time.monotonic() - begun < 20
        web.down_until = 0
        assert far.read(300, 300, 64, 0.25).shape == (64, 64, 3)  # and nothing is left behind


def test_a_cut_object_is_an_error(slides, url, web, tmp_path):
    layout = layout_of(slides["ycbcr"])
    content = slides["ycbcr"].read_bytes()
    (tmp_path / "ycbcr.svs").write_bytes(content[: len(content) // 3])
    web.root = tmp_path
    begun = time.monotonic()
    with by_layout(url, layout) as far, pytest.raises(EvaError):
        far.read_many([(x, y, 256, 0.25) for x in (0, 700, 1400) for y in (0, 500, 1000)])
    with pytest.raises(EvaError):
        open_slide(url)
    assert time.monotonic() - begun < 10


def test_an_object_deleted_in_the_middle_is_an_error(url, web, tmp_path):
    with open_slide(url) as far:
        web.root = tmp_path
        with pytest.raises(EvaError, match="there is none"):
            far.read(0, 0, 64, 0.25)


def test_a_forked_process_is_told_rather_than_left_waiting(url):
    with open_slide(url) as far:
        far.read(0, 0, 32, 0.25)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                far.read(0, 0, 32, 0.25)
            except EvaError as error:
                os.write(writing, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert b"spawn or forkserver" in os.read(reading, 1000)


def test_s3_equals_local(bucket, slides):
    for key, name in (("a/one.svs", "ycbcr"), ("a/b/two & 3.svs", "rgb"), ("c.svs", "single")):
        with open_slide(f"{bucket}/{key}") as far, open_slide(slides[name]) as near:
            assert isinstance(far, TiffSlide)
            assert far.name == key.rpartition("/")[2]
            places = [(200, 300, 256, far.mpp * f) for f in (1, 2, 3.3)]
            for a, b in zip(far.read_many(places), near.read_many(places), strict=True):
                assert np.array_equal(a.pixels, b.pixels)
    with pytest.raises(EvaError, match=r"Expected an object at s3://cohort/no.svs"):
        open_slide(f"{bucket}/no.svs")


def test_what_is_a_url():
    assert all(map(is_url, ("s3://b/k", "https://h/x", "gs://b/k", "az://c/k", "HTTP://h/x")))
    assert not any(map(is_url, ("/a/b", "a.svs", "C:/x", "file:///x")))


def test_threads_share_a_slide(slides, url):
    with open_slide(url) as far, open_slide(slides["ycbcr"]) as near, ThreadPoolExecutor(4) as pool:
        places = [(i * 31 % 1500, i * 17 % 1000, 100, 0.3 + i * 0.05) for i in range(40)]
        for slide in (far, near):
            read = list(pool.map(lambda p, slide=slide: slide.read(*p), places))
            assert all(np.array_equal(a, near.read(*p)) for a, p in zip(read, places, strict=True))


def test_ranges_are_exact(web, slides):
    content = slides["single"].read_bytes()
    blob = Blob(f"http://127.0.0.1:{web.server_port}/single.svs")
    assert blob.size() == len(content)
    assert blob.ranges([(0, 10), (100, 1000), (len(content) - 5, len(content))]) == [
        content[:10],
        content[100:1000],
        content[-5:],
    ]
