"""A bounded number of slides is open, the last used ones, and none is closed under anyone's hands."""

import errno
import threading
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_pretrain.data.slide_pool import SlidePool
from eva_vision.slides.reading.openslide import OpenSlideSlide
from eva_vision.slides.reading.staging import CacheFull


class Fake:
    """Something that is open, and counted."""

    memory = 3 * 2**20

    def __init__(self, opened: set["Fake"]) -> None:
        self._opened = opened
        opened.add(self)

    def close(self) -> None:
        self._opened.remove(self)


def test_the_least_recently_used_are_closed():
    opened: set[Fake] = set()
    asked: list[int] = []

    def open_slide(number: int) -> Fake:
        asked.append(number)
        return Fake(opened)

    pool = SlidePool(open_slide, most=3)
    for number in (0, 1, 2, 0, 3, 0, 1):
        with pool.use(number):
            assert len(opened) <= 4
    assert asked == [0, 1, 2, 3, 1]
    assert len(pool) == len(opened) == 3
    pool.close()
    assert not opened


def files_below(folder: Path) -> int:
    """Open files of this process."""
    links = Path("/proc/self/fd").iterdir()
    return sum(link.is_symlink() and link.resolve().is_relative_to(folder) for link in links)


def test_ten_thousand_slides_stay_within_files_and_memory(fragile, tmp_path):
    index = fragile
    with index.open(0) as slide:
        one = sum(level.offsets.nbytes + level.counts.nbytes for level in slide.layout.tiles)
    pool = SlidePool(lambda number: index.open(number % 3), most=40, most_bytes=30 * one)
    for number in np.random.default_rng(0).integers(10_000, size=1_000).tolist():
        with pool.use(number):
            pass
        assert pool.bytes <= 30 * one
    assert len(pool) == 30
    assert files_below(tmp_path) == 30
    pool.close()
    assert files_below(tmp_path) == 0


def test_memory_of_openslide_is_counted(slides):
    pool = SlidePool(lambda number: OpenSlideSlide(str(slides / "a.svs")), most_bytes=10 * 2**20)
    for number in range(6):
        with pool.use(number):
            pass
    assert len(pool) == 3


def test_a_slide_in_use_stays_open():
    opened: set[Fake] = set()
    pool = SlidePool(lambda number: Fake(opened), most=1)
    with pool.use(0) as first, pool.use(1) as second:
        pool.drop(0)
        assert opened == {first, second}
    assert len(opened) == 1


def test_threads_share_one_handle():
    opened: set[Fake] = set()
    gate = threading.Barrier(8)

    def open_slide(number: int) -> Fake:
        gate.wait(5)  # all of them come at once
        return Fake(opened)

    pool = SlidePool(open_slide)
    found = []

    def use() -> None:
        with pool.use(7) as slide:
            found.append(slide)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(opened) == 1


def test_a_slide_is_not_to_blame_where_files_run_out():
    opened: set[Fake] = set()

    def open_slide(number: int) -> Fake:
        if len(opened) == 2:
            raise EvaError("it does not open") from OSError(errno.EMFILE, "too many open files")
        return Fake(opened)

    pool = SlidePool(open_slide)
    for number in range(5):
        with pool.use(number):
            pass
    assert len(opened) == 1


def test_a_full_cache_is_emptied_of_what_nobody_uses():
    opened: set[Fake] = set()

    def open_slide(number: int) -> Fake:
        if len(opened) == 2:
            raise CacheFull("no room")
        return Fake(opened)

    pool = SlidePool(open_slide)
    for number in range(5):
        with pool.use(number):
            pass
    assert len(opened) == 1
    with pool.use(0), pool.use(1), pytest.raises(CacheFull), pool.use(2):
        pass
