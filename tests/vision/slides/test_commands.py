"""`eva slides`: what is printed, what is written, and how it fails."""

import shutil

import numpy as np
import pytest

from eva_core.cli import main
from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.build_index import build, in_this_process, index_slide
from eva_vision.slides.index import Index
from eva_vision.slides.sampler import Sampler, Sampling
from eva_vision.slides.tissue_detection import tissue_mask


@pytest.fixture
def folder(slides, tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("ycbcr", "single"):
        shutil.copy(slides[name], folder)
    return folder


def test_help_lists_both(capsys):
    for argv in (["slides"], ["slides", "--help"]):
        assert main(argv) == 0
        printed = capsys.readouterr().out
        assert "index PATTERN --output DIR" in printed
        assert "show FILE" in printed
    assert main(["slides", "list"]) == 2
    assert "Expected index or show" in capsys.readouterr().err


def test_index_prints_what_it_found(folder, capsys):
    assert main(["slides", "index", f"{folder}/*.svs", "--output", "index", "--workers", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("2 slides in index: ")
    assert "2 by the fast path" in printed.out
    assert "Indexing: 2 slides" in printed.err
    assert main(["slides", "index", f"{folder}/*.svs", "--output", "index", "--workers", "1"]) == 0
    assert "Indexing: 0 slides" in capsys.readouterr().err
    assert len(Index("index")) == 2


def test_a_bad_slide_is_listed_and_strict_fails(folder, capsys):
    (folder / "bad.svs").write_text("no slide")
    asked = ["slides", "index", f"{folder}/*.svs", "--output", "index", "--workers", "1"]
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert "2 slides in index" in printed.out
    assert f"{folder}/bad.svs: Expected a slide" in printed.err
    assert main([*asked, "--strict"]) == 1
    assert "Expected every slide to be indexed, but 1 were not" in capsys.readouterr().err
    only_bad = ["slides", "index", f"{folder}/bad.svs", "--output", "other", "--workers", "1"]
    assert main(only_bad) == 1


def test_what_cannot_be_looked_at_is_among_what_failed(folder, capsys):
    (folder / "old").symlink_to("/gone")
    asked = ["slides", "index", f"{folder}/**/*.svs", "--output", "index", "--workers", "1"]
    assert main(asked) == 0
    assert f"{folder}/old: a link that leads nowhere" in capsys.readouterr().err
    assert main([*asked, "--strict"]) == 1
    assert "Expected every slide to be indexed, but 1 were not" in capsys.readouterr().err


def test_how_many_were_not_compared_is_told(folder, capsys, monkeypatch):
    asked = ["slides", "index", f"{folder}/*.svs", "--output", "index", "--workers", "1"]
    monkeypatch.setattr(
        "eva_vision.slides.reading.verify.agrees", lambda slide: None if "single" in slide.path else True
    )
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert "2 by the fast path" in printed.out
    assert "1 were not compared with OpenSlide, which does not open them: single.svs." in printed.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mpp", "0"], "Expected --mpp above 0"),
        (["--workers", "0"], "Expected --workers of at least 1"),
        (["--tissue", "hvs"], "Did you mean hsv"),
        (["--engine", "dask"], "choice"),
    ],
)
def test_wrong_flags(folder, capsys, more, message):
    assert main(["slides", "index", f"{folder}/*.svs", "--output", "index", *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_pattern_without_matches(tmp_path, capsys):
    assert main(["slides", "index", f"{tmp_path}/*.svs", "--output", "index"]) == 2
    assert "nothing matches" in capsys.readouterr().err


def test_show_writes_the_outline_of_the_tissue(slides, tmp_path, capsys):
    shapely = pytest.importorskip("shapely")
    output = tmp_path / "new" / "tissue.geojson"
    assert main(["slides", "show", str(slides["ycbcr"]), "--geojson", str(output)]) == 0
    assert f"{output}: " in capsys.readouterr().out
    shapes = shapely.from_geojson(output.read_text())
    assert all(shape.is_valid for shape in shapes.geoms)
    with open_slide(slides["ycbcr"]) as slide:
        area = sum(shape.area for shape in shapes.geoms) * slide.mpp**2 * 1e-6
        assert area == pytest.approx(tissue_mask(slide).area, rel=1e-4)
        left, top, right, bottom = shapes.bounds
        assert left >= 0
        assert top >= 0
        assert right <= slide.levels[0].width
        assert bottom <= slide.levels[0].height


# From blob storage.


def same_as_local(index, number, path):
    with index.open(number) as far, open_slide(path) as near:
        assert (type(far), far.mpp, far.levels) == (type(near), near.mpp, near.levels)
        places = [(200, 100, 128, near.mpp * factor) for factor in (1, 2, 3.3)]
        for ours, theirs in zip(far.read_many(places), near.read_many(places), strict=True):
            assert np.array_equal(ours.pixels, theirs.pixels)
        assert np.array_equal(index.mask(number).pixels, tissue_mask(near).pixels)


def test_a_bucket_is_indexed_and_read_by_the_index(bucket, slides, capsys):
    asked = ["slides", "index", f"{bucket}/**/*.svs", "--output", "index", "--workers", "2"]
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("3 slides in index: ")
    assert "3 by the fast path" in printed.out
    index = Index("index")
    assert [entry.path.removeprefix(bucket) for entry in index.entries] == ["/a/b/two & 3.svs", "/a/one.svs", "/c.svs"]
    for number, name in enumerate(("rgb", "ycbcr", "single")):
        entry = index.entries[number]
        assert (entry.agreed, entry.bytes) == (True, slides[name].stat().st_size)
        assert entry.sha256 == index_slide(str(slides[name]), "hsv", None).entry["sha256"]
        same_as_local(index, number, slides[name])
    sampler = Sampler(index.entries, index.mask, Sampling(size=64))
    place = sampler.place(0)
    with index.open(place.slide) as slide:
        assert slide.read(place.x, place.y, place.size, place.mpp).mean() < 235
    assert main(asked) == 0
    assert "Indexing: 0 slides" in capsys.readouterr().err
    (failed,) = build([f"{bucket}/no.svs"], index.folder, "hsv", None, in_this_process).failed
    assert "there is none" in failed.error


def test_an_object_that_was_replaced_is_noticed(bucket, slides, plain, capsys):
    client = pytest.importorskip("boto3").client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="changing")
    same_size = plain.read_bytes()[:-1000] + b"other pixels" * 83 + b"last"
    for name, path, other in (("a.svs", slides["ycbcr"], slides["rgb"].read_bytes()), ("b.tif", plain, same_size)):
        client.upload_file(str(path), "changing", name)
        asked = ["slides", "index", f"s3://changing/{name}", "--output", name, "--workers", "1"]
        assert main(asked) == 0
        index = Index(name)
        index.open(0).close()
        client.put_object(Bucket="changing", Key=name, Body=other)
        with pytest.raises(EvaError, match=r"has changed since.* Run `eva slides index` on it again"):
            index.open(0)
        capsys.readouterr()
        assert main(asked) == 0
        assert "Indexing: 1 slides" in capsys.readouterr().err
        Index(name).open(0).close()
    client.upload_file(str(slides["rgb"]), "changing", "a.svs", ExtraArgs={"Metadata": {"copied": "again"}})
    Index("a.svs").open(0).close()  # the same content


def test_a_bucket_with_what_only_openslide_reads(bucket, plain, capsys):
    assert main(["slides", "index", f"{bucket}/*.tif", "--output", "index", "--workers", "1"]) == 0
    assert "0 by the fast path" in capsys.readouterr().out
    index = Index("index")
    assert (index.entries[0].reader, index.entries[0].agreed) == ("openslide", None)
    same_as_local(index, 0, plain)


def test_a_web_address_is_indexed_in_few_requests(web, slides, capsys):
    url = f"http://127.0.0.1:{web.server_port}/ycbcr.svs"
    web.faults.extend(["503", "", "reset", "", "truncate"])
    assert main(["slides", "index", url, "--output", "index", "--workers", "1"]) == 0
    assert web.requests <= 45
    index = Index("index")
    assert index.entries[0].agreed is True
    same_as_local(index, 0, slides["ycbcr"])


def test_another_reading_of_a_remote_slide_is_found(web, monkeypatch):
    monkeypatch.setattr("eva_vision.slides.reading.tiff_layout._COLOURS", {2: "YCbCr", 6: "RGB"})
    monkeypatch.setattr("eva_vision.slides.reading.tiff_layout._decodes", lambda layout, file: True)
    found = index_slide(f"http://127.0.0.1:{web.server_port}/ycbcr.svs", "hsv", None)
    assert (found.entry["reader"], found.entry["agreed"], found.state) == ("openslide", False, b"")
