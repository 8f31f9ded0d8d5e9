"""A slide that does not read costs its own places; storage that does not answer is told from it."""

import errno
import time
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_pretrain.data import slide_reads
from eva_pretrain.data.slide_pool import SlidePool
from eva_pretrain.data.slide_reads import Failure, OutageDetector, read_all
from eva_vision.slides.reading.openslide import OpenSlideSlide
from eva_vision.slides.reading.slide import Slide
from eva_vision.slides.reading.staging import CacheFull, _unwritten
from eva_vision.synthetic.slides import phantom_tissue
from tests.vision.slides.tiffs import flat_page, write_tiff


def test_a_full_cache_is_not_the_slides_fault():
    def open_slide(number: int) -> Slide:
        raise CacheFull("no room")

    failures = read_all(SlidePool(open_slide), [(4, (0, 0, 8, 1.0))], together=False, outages=OutageDetector())
    assert failures == [Failure("no room", busy=True)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_neither_gone_nor_silent(monkeypatch, number):
    monkeypatch.setattr(slide_reads, "_SLOW", -1.0)
    full = OSError(number, "full")

    def as_error(_: int) -> Slide:
        raise full

    def as_cause(_: int) -> Slide:
        raise _unwritten(Path("copy"), full) from full

    for open_slide in (as_error, as_cause):
        (failure,) = read_all(SlidePool(open_slide), [(4, (0, 0, 8, 1.0))], together=False, outages=OutageDetector())
        assert (failure.busy, failure.gone, failure.silent) == (True, False, False)


def test_what_openslide_refuses_after_a_slow_copy_is_gone_not_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(slide_reads, "_SLOW", -1.0)
    (tmp_path / "bad.svs").write_bytes(b"no slide")
    pool = SlidePool(lambda number: OpenSlideSlide(str(tmp_path / "bad.svs")))
    (failure,) = read_all(pool, [(0, (0, 0, 8, 1.0))], together=False, outages=OutageDetector())
    assert (failure.gone, failure.silent, failure.busy) == (True, False, False)


def test_a_bad_tile_costs_its_own_places_alone(tmp_path):
    """OpenSlide gives up a handle after one: those that come later, and other threads', are read by another."""
    image = phantom_tissue(640, 512, seed=1)
    tags, tiles = flat_page(image, mpp=0.25)
    tiles[6] = bytes(len(tiles[6]))
    path = write_tiff(tmp_path / "bad.tif", [(tags, tiles)])
    pool = SlidePool(lambda number: OpenSlideSlide(str(path)))
    corners = [(x, y) for y in (10, 150, 300) for x in (10, 150, 300, 500)]
    places = [(0, (x, y, 80, 0.25)) for x, y in corners]
    for _ in range(2):
        found = read_all(pool, places, together=False, outages=OutageDetector())
        for (x, y), patch in zip(corners, found, strict=True):
            if (x, y) == (150, 150):
                assert isinstance(patch, Failure)
                assert (patch.gone, patch.silent, patch.busy) == (False, False, False)
                assert "at 150, 150" in patch.reason
            else:
                assert np.array_equal(patch.pixels, image[y : y + 80, x : x + 80])
    pool.close()


class Answer:
    """A slide of a storage that takes its time, and may give none in the end."""

    memory = 3 * 2**20

    def __init__(self, seconds: float, dead: bool) -> None:
        self.seconds, self.dead = seconds, dead

    def read_many(self, places):
        time.sleep(self.seconds)
        if self.dead:
            raise EvaError("no answer") from TimeoutError()
        return [None] * len(places)

    def close(self) -> None:
        pass


def test_an_outage_is_noticed_after_three_slides(monkeypatch):
    monkeypatch.setattr(slide_reads, "_SLOW", -1.0)
    asked: list[int] = []
    requests = [(number, (0, 0, 8, 1.0)) for number in range(100)]
    pool = SlidePool(lambda number: asked.append(number) or Answer(0, dead=True))
    with pytest.raises(EvaError, match="3 slides in a row got no answer, the last: no answer"):
        read_all(pool, requests, together=False, outages=OutageDetector())
    assert asked == [0, 1, 2]


def test_an_outage_is_told_from_slides_that_were_asked_beside_others(monkeypatch):
    monkeypatch.setattr(slide_reads, "_SLOW", 0.05)
    dead = {3, 7, 8, 9}
    requests = [(number, (0, 0, 8, 1.0)) for number in range(10)]
    pool = SlidePool(lambda number: Answer(0.15 if number in dead else 0.02, number in dead))
    found = read_all(pool, requests, together=True, outages=OutageDetector())
    assert {n for n, patch in enumerate(found) if patch is not None} == dead
    assert {found[n] for n in dead} == {Failure("no answer", silent=True)}


def test_an_outage_is_noticed_in_threads(monkeypatch):
    monkeypatch.setattr(slide_reads, "_SLOW", 0.01)
    requests = [(number, (0, 0, 8, 1.0)) for number in range(100)]
    pool = SlidePool(lambda number: Answer(0.02, dead=True))
    with pytest.raises(EvaError, match="storage that answers"):
        read_all(pool, requests, together=True, outages=OutageDetector())


def test_opening_that_takes_long_is_silence(monkeypatch):
    def open_slide(number: int) -> Slide:
        raise EvaError("no answer") from TimeoutError()

    request, outages = [(4, (0, 0, 8, 1.0))], OutageDetector()
    assert read_all(SlidePool(open_slide), request, False, outages) == [Failure("no answer", gone=True)]
    monkeypatch.setattr(slide_reads, "_SLOW", -1.0)
    assert read_all(SlidePool(open_slide), request, False, outages) == [Failure("no answer", silent=True)]


def test_after_one_place_was_silent_the_others_of_the_slide_are_not_asked(monkeypatch):
    asked = []

    class Half(Answer):
        def read_many(self, places):
            raise EvaError("a bad tile")

        def read_patch(self, *place):
            asked.append(place)
            monkeypatch.setattr(slide_reads, "_SLOW", -1.0)
            raise EvaError("no answer") from TimeoutError()

    requests = [(0, (x, 0, 8, 1.0)) for x in range(5)]
    found = read_all(SlidePool(lambda number: Half(0, True)), requests, together=False, outages=OutageDetector())
    assert found == [Failure("no answer", silent=True)] * 5
    assert len(asked) == 1


def test_slides_side_by_side_give_the_same(index):
    places = [(n % 3, (40 * n, 30 * n, 64, 0.5)) for n in range(12)]
    alone = read_all(SlidePool(index.open), places, together=False, outages=OutageDetector())
    together = read_all(SlidePool(index.open), places, together=True, outages=OutageDetector())
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(alone, together, strict=True))


def test_one_bad_place_does_not_spoil_the_others(index, monkeypatch):
    plain = Slide.read_patch

    def read_patch(slide, x, y, size, mpp):
        if x == 300:
            raise EvaError("a bad tile")
        return plain(slide, x, y, size, mpp)

    monkeypatch.setattr(
        "eva_vision.slides.reading.tiff.TiffSlide.read_many", lambda s, p: [read_patch(s, *q) for q in p]
    )
    monkeypatch.setattr("eva_vision.slides.reading.slide.Slide.read_patch", read_patch)
    found = read_all(
        SlidePool(index.open),
        [(0, (x, 200, 32, 0.25)) for x in (280, 300, 320)],
        together=False,
        outages=OutageDetector(),
    )
    assert found[1] == Failure("a bad tile")
    assert (found[0].x, found[2].x) == (280, 320)


def test_what_does_not_open_is_final(tmp_path):
    def open_slide(number: int) -> Slide:
        raise EvaError(f"no slide {number}")

    with pytest.raises(EvaError, match="no slide 4"), SlidePool(open_slide).use(4):
        pass
    assert read_all(SlidePool(open_slide), [(4, (0, 0, 8, 1.0))], together=False, outages=OutageDetector()) == [
        Failure("no slide 4", gone=True)
    ]
