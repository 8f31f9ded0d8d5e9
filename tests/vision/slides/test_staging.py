import numpy as np
import pytest

from eva_core.errors import EvaError, UsageError
from eva_vision.slides import open_slide
from eva_vision.slides.reader import OpenSlideSlide
from eva_vision.slides.staging import stage


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
    monkeypatch.setattr("eva_vision.slides.staging._PIECE", 50_000)
    monkeypatch.setattr("eva_vision.slides.remote.PATIENCE", 0.2)
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
    with pytest.raises(EvaError, match="EVA_SLIDES_CACHE_GB higher"):
        staged("d.tif")
    assert held.path.read_bytes() == plain.read_bytes()
    held.close()
    staged("d.tif").close()
    assert copies(cache) == ["c.tif", "d.tif"]
    other.close()
    monkeypatch.setenv("EVA_SLIDES_CACHE_GB", "much")
    with pytest.raises(UsageError, match="a number of gigabytes"):
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
        return {key: len(data) for key, data in content.items() if key.startswith(f"{prefix}/")}

    monkeypatch.setattr("eva_vision.slides.remote.Blob._get", get)
    monkeypatch.setattr("eva_vision.slides.remote.Blob.size", lambda self: len(content[self.key]))
    monkeypatch.setattr("eva_vision.slides.staging.list_objects", below)
    staged = stage("s3://b/c/x.mrxs")
    found = {str(f.relative_to(staged.path.parent)) for f in staged.path.parent.rglob("*") if f.is_file()}
    assert found - {".lease"} == {"x.mrxs", "x/Data0.dat", "x/Slidedat.ini"}
    assert staged.path.read_bytes() == b"index"
    staged.close()
