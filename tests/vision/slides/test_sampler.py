"""Which patches are sampled: by number alone, uniform over tissue, of the slides and magnifications that were asked."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_core.errors import EvaError, UsageError
from eva_vision.slides.names import stem, tcga
from eva_vision.slides.sampler import Sampler, Sampling
from eva_vision.slides.tissue_mask import TissueMask


@dataclass(frozen=True)
class Slide:
    name: str
    mpp: float = 0.25
    area: float = 1.0


def square(width=100, height=80, rows=slice(20, 60), columns=slice(10, 70), mpp=0.25, scale=32):
    tissue = np.zeros((height, width), bool)
    tissue[rows, columns] = True
    return TissueMask.of(tissue, width * scale, height * scale, mpp)


MASK = square()
PLAIN = Sampling(size=224, mpp=(0.25,))


def sampler(sampling=PLAIN, slides=10, seed=0, mask=lambda n: MASK):
    listed = [Slide(f"s{n}.svs") for n in range(slides)] if isinstance(slides, int) else slides
    return Sampler(listed, mask, sampling, seed)


# Which place.


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**62), st.integers(0, 2**64 - 1), st.integers(1, 5))
def test_a_sample_depends_on_seed_and_number_alone(seed, n, per_window):
    sampling = Sampling(size=100, per_window=per_window, window=400)
    one, other = sampler(sampling, seed=seed), sampler(sampling, seed=seed)
    for k in range(3):
        other.place((n + 17 * k) % 2**64)  # what was drawn before does not matter
    assert one.place(n) == other.place(n)


def test_a_magnification_that_is_never_drawn_keeps_no_slide():
    mix = Sampling(size=224, mpp=(0.25, 2.0), mpp_weights=(1.0, 0.0))
    found = sampler(mix, slides=[Slide("fine.svs"), Slide("coarse.svs", mpp=0.5)])
    assert {(found.place(n).slide, found.place(n).mpp) for n in range(20)} == {(0, 0.25)}


def test_numbers_seeds_and_attempts_differ():
    places = {(s.x, s.y) for s in (sampler().place(n) for n in range(50))}
    assert len(places) == 50
    assert sampler().place(0) != sampler(seed=1).place(0)
    assert len({sampler().place(0, attempt) for attempt in range(10)}) == 10


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(20, 300),
    st.sampled_from([0.25, 0.5, 1.0, 0.37]),
    st.floats(0.05, 1),
    st.integers(1, 6),
)
def test_every_patch_is_tissue_and_inside_the_slide(n, size, mpp, least, per_window):
    sampling = Sampling(size=size, mpp=(mpp,), tissue=least, per_window=per_window, window=600)
    place = sampler(sampling).place(n)
    side = size * mpp / 0.25
    assert (place.size, place.mpp) == (size, mpp)
    slack = 0 if per_window == 1 else 6 / side  # corners in a region round to its pixels
    assert MASK.share(place.x, place.y, side) >= least - slack - 1e-6
    assert place.x >= 0
    assert place.x + side <= MASK.slide_width + 1
    assert place.y >= 0
    assert place.y + side <= MASK.slide_height + 1


@pytest.mark.parametrize("least", [0.4, 1.0])
def test_places_are_uniform_over_all_that_are_valid(least):
    """Against the places of a grid, all of them tried."""
    mask = square(40, 30, slice(5, 20), slice(5, 30), scale=8)
    draw = sampler(Sampling(size=48, mpp=(0.25,), tissue=least), 1, mask=lambda n: mask)
    places = [draw.place(n) for n in range(4000)]
    xs, ys = np.arange(0, 320 - 48 + 1), np.arange(0, 240 - 48 + 1)
    valid = np.array([[mask.share(x, y, 48) >= least - 1e-9 for x in xs] for y in ys])
    columns, rows = np.nonzero(valid)[1], np.nonzero(valid)[0]
    assert all(valid[p.y, p.x] for p in places)
    for got, wanted in (([p.x for p in places], columns), ([p.y for p in places], rows)):
        assert np.mean(got) == pytest.approx(wanted.mean(), abs=4 * wanted.std() / 4000**0.5)
        assert np.std(got) == pytest.approx(wanted.std(), rel=0.06)


def test_a_place_is_found_where_hardly_any_is(capsys):
    """A speck beside much tissue that is too thin: the draws fail, the search of all places does not."""
    tissue = np.zeros((200, 200), bool)
    tissue[::8] = True
    tissue[100:108, 100:108] = True
    mask = TissueMask.of(tissue, 1600, 1600, 0.25)
    draw = sampler(Sampling(size=64, mpp=(0.25,), tissue=0.99), 1, mask=lambda n: mask)
    assert {(p.x, p.y) for p in map(draw.place, range(20))} == {(800, 800)}
    assert capsys.readouterr().err == ""


def test_a_slide_without_a_place_is_told_once_and_left_out(capsys):
    small = square(10, 10, slice(0, 10), slice(0, 10), scale=8)
    draw = sampler(Sampling(size=224, mpp=(0.25,)), 2, mask=lambda n: small if n == 0 else MASK)
    assert {draw.place(n).slide for n in range(50)} == {1}
    said = capsys.readouterr().err
    assert said.count("s0.svs: no patch of 224 px at 0.25") == 1
    with pytest.raises(EvaError, match="1000 in a row have none"):
        sampler(mask=lambda n: small).place(0)


# Regions.


def test_patches_of_a_region_follow_each_other():
    sampling = Sampling(size=100, mpp=(0.5,), per_window=4, window=512)
    draw = sampler(sampling)
    for number in range(30):
        window = draw.window(number)
        places = [draw.place(4 * number + k) for k in range(4)]
        assert len(window.corners) == 4
        assert {(p.slide, p.mpp) for p in places} == {(window.slide, 0.5)}
        assert 0 <= window.x <= MASK.slide_width - window.size * 2
        assert 0 <= window.y <= MASK.slide_height - window.size * 2
        for (across, down), place in zip(window.corners, places, strict=True):
            assert 0 <= min(across, down) <= max(across, down) <= window.size - 100
            assert (place.x, place.y) == (window.x + 2 * across, window.y + 2 * down)


def test_a_region_is_no_larger_than_its_slide():
    draw = sampler(Sampling(size=100, mpp=(1.0,), per_window=3, window=5000))
    assert {draw.window(n).size for n in range(5)} == {640}


# Slides.


def test_slides_are_drawn_alike_or_by_area(tmp_path):
    slides = [Slide("a.svs", area=1), Slide("b.svs", area=3), Slide("c.svs", area=0.0)]
    shares = {}
    for how in ("uniform", "area"):
        draw = sampler(replace(PLAIN, slides=how), slides)
        shares[how] = np.mean([draw.place(n).slide for n in range(2000)])
    assert shares["uniform"] == pytest.approx(0.5, abs=0.04)
    assert shares["area"] == pytest.approx(0.75, abs=0.04)
    table = tmp_path / "weights.csv"
    table.write_text("slide,w\na,9\nb.svs,1\n")
    draw = sampler(replace(PLAIN, slides="column", table=str(table), column="w"), slides)
    assert np.mean([draw.place(n).slide for n in range(2000)]) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide,weight\na,1\n", "1 are not: b.svs"),
        ("slide,weight\na,1\nb,much\n", "Expected numbers in column weight"),
        ("slide,weight\na,1\nb,-1\n", "at least 0"),
        ("slide,weight\na,0\nb,0\n", "at least 0"),
        ("slide\na\nb\n", "Expected the columns slide, weight"),
    ],
)
def test_a_table_that_does_not_serve_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        sampler(replace(PLAIN, slides="column", table=str(tmp_path / "t.csv")), [Slide("a.svs"), Slide("b.svs")])


def test_a_fraction_is_part_of_a_larger_one_and_of_the_same_slides_in_any_order():
    slides = [Slide(f"s{n}.svs") for n in range(200)]
    kept = {
        share: set(sampler(replace(PLAIN, fraction=share), slides).slide_numbers) for share in (0.01, 0.1, 0.3, 1.0)
    }
    assert [len(part) for part in kept.values()] == [2, 20, 60, 200]
    assert kept[0.01] < kept[0.1] < kept[0.3]
    turned = sampler(replace(PLAIN, fraction=0.1), slides[::-1]).slide_numbers
    assert {199 - n for n in turned} == kept[0.1]
    assert set(sampler(replace(PLAIN, fraction=0.1), slides, seed=1).slide_numbers) != kept[0.1]
    assert len(sampler(replace(PLAIN, fraction=0.001), slides).slide_numbers) == 1


def test_few_distinct_patches_come_again():
    draw = sampler(replace(PLAIN, distinct=7))
    assert len({draw.place(n) for n in range(70)}) == 7
    assert draw.place(3) == draw.place(10) == sampler().place(3)


# Magnifications.


def test_magnifications_are_drawn_by_weight():
    draw = sampler(Sampling(size=64, mpp_weights=(0, 1, 2, 1)))
    drawn = Counter(draw.place(n).mpp for n in range(2000))
    assert drawn[0.25] == 0
    assert drawn[1.0] / 2000 == pytest.approx(0.5, abs=0.04)


def test_any_magnification_is_drawn_log_uniformly():
    draw = sampler(Sampling(size=32, mpp_range=(0.25, 2.0)))
    drawn = np.log2([draw.place(n).mpp for n in range(1500)])
    assert drawn.min() >= -2
    assert drawn.max() <= 1
    assert np.allclose(np.quantile(drawn, [0.25, 0.5, 0.75]), [-1.25, -0.5, 0.25], atol=0.13)


def test_a_coarse_slide_is_not_sampled_finer_than_it_is(capsys):
    slides = [Slide("fine.svs", 0.2527), Slide("coarse.svs", 0.5), Slide("far.svs", 4.0)]
    masks = [square(mpp=slide.mpp) for slide in slides]
    draw = sampler(Sampling(size=64), slides, mask=masks.__getitem__)
    said = capsys.readouterr().err
    assert "1 of 3 slides are coarser than 2 micrometres per pixel: far.svs." in said
    assert "1 of 2 slides are coarser than 0.25 micrometres per pixel" in said
    drawn = Counter((p.slide, p.mpp) for p in map(draw.place, range(600)))
    assert set(drawn) == {(0, m) for m in (0.25, 0.5, 1.0, 2.0)} | {(1, m) for m in (0.5, 1.0, 2.0)}
    ranged = sampler(Sampling(size=64, mpp_range=(0.25, 2.0)), slides[1:2], mask=lambda n: masks[1])
    assert min(ranged.place(n).mpp for n in range(200)) >= 0.5 / 1.1


# Barcodes and exclusions.


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("TCGA-A1-A0SB-01Z-00-DX10.svs", ("TCGA-A1-A0SB", "DX")),
        ("TCGA-A1-A0SB-01Z-00-DX1.B34C267B-CAAA-4AB6.svs", ("TCGA-A1-A0SB", "DX")),
        ("tcga-a1-a0sb-01a-01-ts1.svs", ("TCGA-A1-A0SB", "TS")),
        ("TCGA-A1-A0SB-01A-01-BSA.svs", ("TCGA-A1-A0SB", "BS")),
        ("TCGA-A1-A0SB-11A-02-MS2", ("TCGA-A1-A0SB", "MS")),
        ("TCGA-A1-A0SB", ("TCGA-A1-A0SB", None)),
        ("TCGA-A1-A0SB-01Z", ("TCGA-A1-A0SB", None)),
        ("TCGA-A1-A0SBX", None),
        ("TCGA-BRCA", None),
        ("CMU-1.svs", None),
        ("x-TCGA-A1-A0SB", None),
    ],
)
def test_barcodes(name, found):
    assert tcga(name) == found


def test_stems():
    assert stem("TCGA-A1-A0SB-01Z-00-DX1.B34C.svs") == "TCGA-A1-A0SB-01Z-00-DX1.B34C"


def test_kinds_and_exclusions(tmp_path, capsys):
    names = [
        "TCGA-A1-A0SB-01Z-00-DX1.U.svs",
        "TCGA-A1-A0SB-01A-01-TS1.U.svs",
        "TCGA-A1-A0SC-01Z-00-DX1.U.svs",
        "TCGA-A1-A0SD-01Z-00-DX1.U.svs",
        "mine.svs",
        "yours.svs",
    ]
    slides = [Slide(name) for name in names]
    assert list(sampler(replace(PLAIN, codes=("DX",)), slides).slide_numbers) == [0, 2, 3]
    assert "3 of 6 slides are not DX" in capsys.readouterr().err
    listed = tmp_path / "listed.txt"
    listed.write_text("# bach\nTCGA-A1-A0SB-01Z-00-DX9\ntcga-a1-a0sd\n\nmine\nyours.svs\nTCGA-ZZ-ZZZZ\n")
    assert list(sampler(replace(PLAIN, exclude=str(listed)), slides).slide_numbers) == [2]
    said = capsys.readouterr().err
    assert "5 of 6 slides are excluded" in said
    assert "1 of 5 lines of" in said
    with pytest.raises(UsageError, match="none is left"):
        sampler(replace(PLAIN, exclude=str(listed), codes=("TS",)), slides)
    for text in ("", "# nothing\n"):
        listed.write_text(text)
        with pytest.raises(UsageError, match="it has none"):
            sampler(replace(PLAIN, exclude=str(listed)), slides)
    with pytest.raises(UsageError, match="does not exist"):
        sampler(replace(PLAIN, exclude=str(tmp_path / "no")), slides)


def test_slides_of_one_file_name_are_told_apart(tmp_path, capsys):
    slides = [Slide(f"p{n}/slide.svs") for n in range(3)]
    listed = tmp_path / "listed.txt"
    listed.write_text("p1\n")
    assert list(sampler(replace(PLAIN, exclude=str(listed)), slides).slide_numbers) == [0, 2]
    listed.write_text("slide.svs\nx.svs\n")
    slides.append(Slide("x.svs"))
    slides.append(Slide("y.svs"))
    assert list(sampler(replace(PLAIN, exclude=str(listed)), slides).slide_numbers) == [4]
    said = capsys.readouterr().err
    assert "slide.svs in" in said
    assert "is the name of 3 slides, all left out: p0/slide.svs, p1/slide.svs, p2/slide.svs." in said
    table = tmp_path / "weights.csv"
    table.write_text("slide,weight\np0/slide,1\np1/slide.svs,0\np2/slide,1\nx,0\ny.svs,0\n")
    weighed = replace(PLAIN, slides="column", table=str(table))
    assert {sampler(weighed, slides).place(n).slide for n in range(30)} == {0, 2}
    table.write_text("slide,weight\nslide,1\nx,0\ny.svs,0\n")
    with pytest.raises(UsageError, match="several slides are called slide"):
        sampler(weighed, slides)
