"""The index: everything of a slide comes back from it, whatever one slide does and whenever the process is killed."""

import hashlib
import os
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import openslide
import pytest

from eva_core.cli import main
from eva_core.errors import EvaError, UsageError
from eva_vision.slides.build_index import Indexed, build, in_this_process, index_slide
from eva_vision.slides.changed_slides import state_of
from eva_vision.slides.index import BLOBS, LINES, LISTED, Index, Writer
from eva_vision.slides.reading.blobs import Blob
from eva_vision.slides.reading.open import open_slide
from eva_vision.slides.reading.openslide import OpenSlideSlide
from eva_vision.slides.reading.tiff import TiffSlide, Undecodable
from eva_vision.slides.sampler import Sampler, Sampling
from eva_vision.slides.tissue_detection import tissue_mask
from eva_vision.slides.tissue_mask import TissueMask
from eva_vision.synthetic.slides import write_phantom_slide


def built(paths, output, run=in_this_process, tissue="hsv", mpp=None):
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
        assert (entry.reader, entry.agreed) == (("tiff", True) if fast else ("openslide", None))
    assert {entry.reader for entry in index.entries} == {"tiff", "openslide"}


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
        return in_this_process(work, paths)

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
    monkeypatch.setattr("eva_vision.slides.reading.verify.agrees", lambda slide: False)
    index = built(three[:1], tmp_path / "index")
    assert (index.entries[0].reader, index.entries[0].agreed) == ("openslide", False)
    with index.open(0) as slide:
        assert isinstance(slide, OpenSlideSlide)


def test_only_a_format_that_openslide_does_not_open_is_not_compared(three, tmp_path, monkeypatch):
    def unknown(path):
        raise openslide.OpenSlideUnsupportedFormatError("Unsupported or missing image file")

    monkeypatch.setattr("openslide.OpenSlide", unknown)
    index = built(three[:1], tmp_path / "unknown")
    assert (index.entries[0].reader, index.entries[0].agreed) == ("tiff", None)
    monkeypatch.undo()

    def undecoded(self, *region):
        raise EvaError("Could not read it.")

    monkeypatch.setattr(OpenSlideSlide, "region", undecoded)
    index = built(three[:1], tmp_path / "undecoded")
    assert [entry.error for entry in index.failed] == ["Could not read it."]


def test_storage_that_fails_while_comparing_fails_the_slide(web, tmp_path, monkeypatch):
    """Whichever of the two readers needs the bytes; later they are compared."""
    url = f"http://127.0.0.1:{web.server_port}/ycbcr.svs"
    monkeypatch.setattr("eva_vision.slides.reading.blobs.PATIENCE", 0.2)
    for step in ("verify.sparse_copy", "tiff.TiffSlide._assemble"):

        def dies(*args):
            web.down_until = float("inf")
            try:
                Blob(url).ranges([(0, 10)])
            finally:
                web.down_until = 0  # it is back at once: the slide is not let through for it

        with monkeypatch.context() as patch:
            patch.setattr(f"eva_vision.slides.reading.{step}", dies)
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


# Cut, lost and damaged files; another state of a slide.


def dummies(folder, names="abcde"):
    """Files in place of slides."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.svs").write_text(name)
    return [str(folder / f"{name}.svs") for name in names]


def pretend(work, paths):
    """What a runner finds of slides, without reading any; `e.svs` fails."""
    for path in paths:
        if "e.svs" in path:
            yield Indexed({"path": path, **state_of(path)._asdict(), "error": "no slide"})
        else:
            entry = {"path": path, **state_of(path)._asdict(), "width": 7, "levels": ((7, 5),), "mpp": 0.5}
            yield Indexed(entry, b"layout", f"mask of {path}".encode())


def told(output, capsys):
    """What opening an index comes to: its paths, and what was said."""
    capsys.readouterr()
    try:
        index = Index(output)
    except EvaError as error:
        return None, str(error)
    paths = {entry.path for entry in (*index.entries, *index.failed)}
    for number in range(len(index)):
        assert index._blobs(index.entries[number]).startswith(b"layoutmask of ")
    return paths, capsys.readouterr().err


@pytest.fixture
def small(tmp_path):
    """An index that was made in two goes, the second of which did a slide again; its slides and its folder."""
    slides, output = dummies(tmp_path / "slides"), tmp_path / "index"
    built(slides[:3], output, pretend)
    Path(slides[0]).write_text("another")
    built(slides, output, pretend)
    return slides, output


def test_what_is_lost_stays_so_until_it_is_indexed_again(small, capsys):
    """Also where others are indexed first, and the file has grown over the hole."""
    slides, output = small
    (output / BLOBS).write_bytes((output / BLOBS).read_bytes()[:-20])
    gone = set(slides) - told(output, capsys)[0]
    more = dummies(Path(slides[0]).parent, "xyz")
    built(more, output, pretend)
    paths, said = told(output, capsys)
    assert paths == {*slides, *more} - gone
    assert "missing" in said
    built(slides, output, pretend)
    assert told(output, capsys) == ({*slides, *more}, "")


def test_a_damaged_part_is_done_again(small, capsys):
    slides, output = small
    content = bytearray((output / BLOBS).read_bytes())
    content[-1] ^= 1
    (output / BLOBS).write_bytes(content)
    seen = []

    def run(work, paths):
        seen.extend(paths)
        return pretend(work, paths)

    built(slides[:4], output, run)
    assert len(seen) == 1
    assert told(output, capsys) == (set(slides), "")


def test_killed_at_any_moment_it_goes_on(tmp_path, capsys, monkeypatch):
    """Every state that the files go through, and each cut amid the last line."""
    slides, output = dummies(tmp_path / "slides", "abcd"), tmp_path / "index"
    states = []

    def look(work, paths):
        for found in pretend(work, paths):
            states.append({file.name: file.read_bytes() for file in output.iterdir() if file.name != ".lock"})
            yield found
        states.append({file.name: file.read_bytes() for file in output.iterdir() if file.name != ".lock"})

    built(slides, output, look)
    assert len(states) == 5
    for state in [*states, *({**states[-1], LINES: states[-1][LINES][:-cut]} for cut in (1, 9, 200))]:
        shutil.rmtree(output)
        output.mkdir()
        for name, content in state.items():
            (output / name).write_bytes(content)
        (output / f".{LISTED}.abcdef-1-01234567.tmp").write_bytes(b"{")
        done = state[LINES].count(b"\n") - 1
        paths, said = told(output, capsys)
        assert len(paths or ()) == done
        assert ("missing" in said) == (done < 4)
        built(slides, output, pretend)
        assert told(output, capsys) == (set(slides), "")
        assert {file.name for file in output.iterdir()} - {".lock"} == {LINES, BLOBS, LISTED}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {LINES: b"", BLOBS: b"", LISTED: b""},
        {LINES: b"\0" * 4096},
        {LINES: b'{"eva_index": 2, "tissue": "otsu", "check": 1}\n', BLOBS: b"half a mask"},
        {LINES: b'{"eva_index": 2, "tissue": "hsv"'},
        {LINES: b'{"eva_index": 1, "tissue": "hsv"}\n{"path": "/a'},
        {BLOBS: b"alone"},
        {LISTED: b'{"eva'},
    ],
    ids=str,
)
def test_an_index_of_which_there_is_nothing_yet_is_begun_anew(files, tmp_path, capsys):
    slides, output = dummies(tmp_path / "slides"), tmp_path / "index"
    output.mkdir()
    for name, content in files.items():
        (output / name).write_bytes(content)
    built(slides, output, pretend)
    assert told(output, capsys) == (set(slides), "")


def test_another_mpp_counts_for_slides_that_took_theirs_from_it(slides, tmp_path):
    paths, output = [slides["no_mpp"], slides["single"]], tmp_path / "index"
    first = built(paths, output, mpp=0.5)
    assert [entry.given_mpp for entry in first.entries] == [0.5, None]
    seen = []

    def run(work, paths):
        seen.extend(Path(path).name for path in paths)
        return in_this_process(work, paths)

    index = built(paths, output, run, mpp=0.25)
    assert seen == ["no_mpp.svs"]
    assert [entry.mpp for entry in index.entries] == [0.25, 0.5]
    assert index.mask(0).slide_mpp == 0.25
    built(paths, output, run)  # without a flag, what was given stays
    assert seen == ["no_mpp.svs"]


def test_another_function_or_parameters_by_the_same_name_are_refused(three, tmp_path, monkeypatch):
    built(three[:1], tmp_path / "index")
    monkeypatch.setattr("eva_vision.slides.tissue_detection.MPP", 4.0)
    with pytest.raises(UsageError, match=r"Expected hsv as .* were made \(.*at 8 micro.*but it is .*at 4 micro"):
        built(three, tmp_path / "index")


def rewritten(path, seed):
    write_phantom_slide(path, 900, 700, seed=seed, levels=1)


def with_other_pixels(path):
    """The same size, and the same first and last bytes."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50_000] = bytes(50_000)
    path.write_bytes(content)


CHANGES = {
    "another": lambda path: rewritten(path, 77),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "mpp": lambda path: path.write_bytes(path.read_bytes().replace(b"MPP = 0.25", b"MPP = 0.52")),
    "pixels": with_other_pixels,
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize(
    ("name", "change"),
    # a plain TIFF says its mpp elsewhere
    [
        (name, change)
        for name in ("ycbcr.svs", "plain.tif")
        for change in CHANGES
        if (name, change) != ("plain.tif", "mpp")
    ],
)
def test_a_slide_that_changed_is_not_read_by_the_old_index(slides, plain, tmp_path, name, change):
    path = Path(shutil.copy(slides["ycbcr"].with_name(name), tmp_path))
    index = built([path], tmp_path / "index")
    before = path.read_bytes()
    CHANGES[change](path)
    assert not path.exists() or path.read_bytes() != before
    with pytest.raises(EvaError, match=r"has changed since.* Run `eva slides index`|cannot be read \(No such file"):
        index.open(0)
    again = built([path], tmp_path / "index")
    if again.entries:
        again.open(0).close()


@pytest.mark.parametrize("name", ["ycbcr.svs", "plain.tif"])
def test_another_time_alone_changes_nothing(slides, plain, tmp_path, name):
    path = Path(shutil.copy(slides["ycbcr"].with_name(name), tmp_path))
    index = built([path], tmp_path / "index")
    os.utime(path, ns=(1, 1))
    with index.open(0) as slide, open_slide(path) as other:
        assert np.array_equal(slide.read(10, 20, 64, 1.0), other.read(10, 20, 64, 1.0))


def test_a_slide_is_indexed_once_by_whatever_name(three, tmp_path, capsys):
    output = tmp_path / "index"
    built(three[:2], output)
    (tmp_path / "other").symlink_to(three[0].parent)
    three[0].with_name("hard.svs").hardlink_to(three[0])
    index = built([*(tmp_path / "other" / path.name for path in three), three[0].with_name("hard.svs")], output)
    assert [entry.path for entry in index.entries] == sorted([*map(str, three[:2]), f"{tmp_path}/other/ycbcr.svs"])
    assert "3 slides are in the index by another name" in capsys.readouterr().err


def test_slides_are_called_by_their_paths_below_what_was_listed(three, tmp_path):
    folder = three[0].parent
    for patient in ("p1", "p2"):
        (folder / patient).mkdir()
        shutil.copy(three[0], folder / patient / "slide.svs")
    deep = folder / "TCGA-AA-0001" / "x"
    deep.mkdir(parents=True)
    shutil.copy(three[0], deep / "slide.svs")
    paths = [*three, *folder.glob("p?/slide.svs")]
    names = ["odd.svs", "p1/slide.svs", "p2/slide.svs", "rgb.svs", "ycbcr.svs"]
    assert [entry.name for entry in built(paths, tmp_path / "index").entries] == names
    assert main(["slides", "index", f"{deep}/*.svs", "--output", str(tmp_path / "one"), "--workers", "1"]) == 0
    assert Index(tmp_path / "one").entries[0].name == "TCGA-AA-0001/x/slide.svs"  # the patient is in a folder above
    assert main(["slides", "index", f"{folder}/p*/*.svs", "--output", str(tmp_path / "two"), "--workers", "1"]) == 0
    assert [entry.name for entry in Index(tmp_path / "two").entries] == names[1:3]


# Size and speed.


def test_two_thousand_slides_open_at_once(three, tmp_path):
    """So 30,000, fifteen times as many, open in seconds, at about 100 kB a slide."""
    (one,) = [index_slide(str(three[2]), "hsv", None)]
    output = tmp_path / "index"
    with Writer(output, "hsv") as writer:
        for n in range(2000):
            writer.add({**one.entry, "path": f"/data/{n:05d}.svs"}, one.state, one.mask)
    started = time.perf_counter()
    index = Index(output)
    assert time.perf_counter() - started < 1
    assert len(index) == 2000
    assert (output / LINES).stat().st_size < 2000 * 1000
    masks = [index.mask(n) for n in range(300)]
    assert isinstance(masks[0], TissueMask)
    assert index.mask(299) is masks[299]
    assert index.mask(0) is not masks[0]
