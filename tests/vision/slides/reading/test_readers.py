"""Readers of slides as plugins: asked before ours, known to an index by name and state."""

from pathlib import Path

import numpy as np
import pytest

from eva_core import registry
from eva_core.cli import main
from eva_core.errors import EvaError, UsageError
from eva_vision.slides import open_slide
from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.index import Index
from eva_vision.slides.reading import readers
from eva_vision.slides.reading.openslide import OpenSlideSlide
from eva_vision.slides.reading.tiff import TiffSlide
from eva_vision.synthetic.slides import phantom_tissue
from tests.vision.slides.toy_reader import PpmReader, write_ppm


@pytest.fixture
def ppm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a reader of PPM is installed."""
    monkeypatch.setattr(registry.slide_readers, "_registered", {})
    registry.slide_readers.register("ppm")(PpmReader)


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return phantom_tissue(900, 700, seed=3)


@pytest.fixture
def picture(tmp_path: Path, tissue: np.ndarray) -> Path:
    return write_ppm(tmp_path / "a.ppm", tissue)


def test_ours_are_entry_points_like_all_others():
    assert {entry.name for entry in registry.slide_readers.entries()} >= set(readers.OURS)


def test_a_slide_is_opened_by_the_reader_that_knows_it(ppm, picture, tissue, slides, plain):
    with open_slide(picture) as slide:
        assert (slide.reader, slide.mpp, slide.stated_mpp) == ("ppm", 0.5, 0.5)
        assert np.array_equal(slide.read(100, 50, 64, 0.5), tissue[50:114, 100:164])
        assert slide.read_patch(-32, 0, 64, 0.5).inside == 0.5
    with open_slide(slides["ycbcr"]) as fast, open_slide(plain) as other:
        assert (type(fast), fast.reader) == (TiffSlide, "tiff")
        assert (type(other), other.reader) == (OpenSlideSlide, "openslide")


def test_where_ours_are_alone_no_byte_is_read_to_choose(slides, plain, monkeypatch):
    monkeypatch.setattr(readers, "_first_bytes", lambda path: pytest.fail("read"))
    for path in (slides["ycbcr"], plain):
        open_slide(path).close()


def test_what_a_reader_does_not_open_after_all_goes_to_the_next(ppm, tmp_path):
    (tmp_path / "deep.ppm").write_bytes(b"P6\n4 4 65535\n" + bytes(96))
    with pytest.raises(EvaError, match="Expected a slide that OpenSlide reads"):
        open_slide(tmp_path / "deep.ppm")
    with pytest.raises(EvaError, match=r"Expected a slide at .*none\.ppm, but it cannot be read"):
        open_slide(tmp_path / "none.ppm")


def test_an_index_knows_the_reader_and_its_state(ppm, picture, tissue, tmp_path, monkeypatch):
    index = build([str(picture)], tmp_path / "index", "hsv", None, in_this_process)
    entry = index.entries[0]
    assert (entry.reader, entry.agreed, entry.mpp, entry.state_bytes) == ("ppm", None, 0.5, len("0.5 900 700 26"))
    parsed = PpmReader.parsed
    with index.open(0) as slide:
        assert np.array_equal(slide.read(10, 20, 32, 0.5), tissue[20:52, 10:42])
    assert PpmReader.parsed == parsed
    write_ppm(picture, tissue[::-1])
    with pytest.raises(EvaError, match="it has changed since"):
        index.open(0)
    write_ppm(picture, tissue)
    monkeypatch.setattr(registry.slide_readers, "_registered", {})
    with pytest.raises(UsageError, match="Unknown slide reader 'ppm'"):
        Index(tmp_path / "index").open(0)


def test_an_mpp_is_given_where_the_file_states_none(ppm, tissue, tmp_path):
    paths = [str(write_ppm(tmp_path / f"{mpp}.ppm", tissue, mpp)) for mpp in (None, 0.5)]
    index = build(paths, tmp_path / "index", "hsv", 0.25, in_this_process)
    assert {(entry.mpp, entry.given_mpp) for entry in index.entries} == {(0.25, 0.25), (0.5, None)}


def test_the_commands_take_it(ppm, picture, tmp_path, capsys):
    asked = ["slides", "index", f"{tmp_path}/*.ppm", "--output", str(tmp_path / "index"), "--workers", "1"]
    assert main(asked) == 0
    assert "1 slide in" in capsys.readouterr().out
    assert main(["slides", "show", str(picture), "--output", str(tmp_path / "a.png")]) == 0
    shown = capsys.readouterr().out
    assert "reader     ppm" in shown
    assert "900 x 700 px" in shown
    assert (tmp_path / "a.png").stat().st_size > 10_000
