import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_core.errors import UsageError
from eva_vision.slides.reading.read_plan import Level, downsample, is_smaller_copy, plan

LEVELS = (Level(40_000, 30_000, 1.0), Level(10_000, 7_500, 4.0), Level(2_500, 1_875, 16.0))
SCALES = (1, 2, 4, 8)


@pytest.mark.parametrize(
    ("mpp", "level", "reduce"),
    [
        (0.1, 0, 1),
        (0.25, 0, 1),
        (0.4, 0, 1),
        (0.5, 0, 2),
        (0.9, 0, 2),
        (1.0, 1, 1),
        (2.0, 1, 2),
        (4.0, 2, 1),
        (9, 2, 2),
    ],
)
def test_the_coarsest_source_that_is_fine_enough(mpp, level, reduce):
    found = plan(LEVELS, SCALES, 0.25, 0, 0, 224, mpp)
    assert (found.level, found.reduce) == (level, reduce)
    assert found.step == LEVELS[level].downsample * reduce


def test_a_level_that_is_a_little_coarse_or_fine_still_serves():
    levels = (Level(46_003, 33_001, 1.0), Level(11_497, 8_249, 4.0008), Level(2_876, 2_064, 15.99))
    assert plan(levels, SCALES, 0.25, 0, 0, 256, 1.0).level == 1
    assert plan(levels, SCALES, 0.25, 0, 0, 256, 1.0).span == 256
    assert plan(levels, SCALES, 0.25, 0, 0, 256, 4.0).level == 2  # not level 1 by 1/4, of 15 times the bytes


def test_pixels_that_are_kept_tell_their_own_mpp():
    near = plan(LEVELS, SCALES, 0.25, 0, 0, 224, 0.5009)
    assert (near.span, near.mpp) == (224, 0.5)  # by the decoder at 1/2, though 0.5009 was asked
    beside = plan(LEVELS, SCALES, 0.25, 0, 0, 224, 0.502)
    assert (beside.span, beside.mpp) == (pytest.approx(224.896), 0.502)
    assert plan(LEVELS, SCALES, 0.1, 0, 0, 224, 0.3).mpp == 0.3
    three = (Level(3000, 3000, 1.0), Level(1000, 1000, 3.0))
    assert plan(three, SCALES, 0.1, 0, 0, 224, 0.3).mpp == 0.3  # not 3 * 0.1, of another last digit


@given(
    x=st.integers(-5_000, 45_000),
    y=st.integers(-5_000, 35_000),
    size=st.integers(1, 600),
    mpp=st.floats(0.05, 40),
    decoder=st.booleans(),
)
def test_what_every_plan_keeps(x, y, size, mpp, decoder):
    found = plan(LEVELS, SCALES if decoder else (1,), 0.25, x, y, size, mpp)
    assert abs(found.x - x) <= found.step / 2 + 0.5  # snapped by at most half a pixel of what is read
    assert abs(found.y - y) <= found.step / 2 + 0.5
    assert found.span <= found.side < found.span + 1
    assert found.span * found.step * 0.25 == pytest.approx(size * found.mpp, rel=1e-6 + 1e-5 / size)  # what is told
    assert found.mpp == pytest.approx(mpp, rel=2.01e-3)
    assert found.mpp == mpp or found.span == size  # exact, unless the pixels are kept as they are
    assert found.step <= max(1.0, mpp / 0.25 * 1.001)  # never from coarser pixels than asked
    assert 0 <= found.inside <= 1
    away = x + size * mpp / 0.25 < -found.step or x > 40_000 + found.step
    assert found.inside == 0 or not away


@pytest.mark.parametrize(
    ("size", "mpp"), [(0, 0.5), (-3, 0.5), (10, 0), (10, -1), (10, float("nan")), (10, float("inf"))]
)
def test_nonsense_is_refused(size, mpp):
    with pytest.raises(UsageError, match="Expected argument"):
        plan(LEVELS, SCALES, 0.25, 0, 0, size, mpp)


@pytest.mark.parametrize(
    ("full", "level", "expected"),
    [
        ((46_003, 33_001), (23_001, 16_500), 2.0),
        ((46_003, 33_001), (23_002, 16_501), 2.0),
        ((40_000, 30_000), (10_000, 7_500), 4.0),
        ((1000, 1000), (400, 400), 2.5),
        ((1000, 500), (1000, 500), 1.0),
    ],
)
def test_downsample_is_whole_where_it_can_be(full, level, expected):
    assert downsample(full, level) == expected


@pytest.mark.parametrize(
    ("full", "level", "expected"),
    [
        ((6000, 4500), (12, 9), 512.0),  # 11.7 by 8.8 px, rounded up: 500 or so by their ratio
        ((46_003, 33_001), (22, 16), 2048.0),
        ((3000, 2100), (1000, 700), 3.0),
    ],
)
def test_downsample_of_few_pixels_is_a_power_of_two_where_it_can_be(full, level, expected):
    assert downsample(full, level) == expected


@pytest.mark.parametrize(
    ("full", "level", "tile", "expected"),
    [
        ((46_003, 33_001), (11_500, 8_250), (256, 256), True),
        ((46_003, 33_001), (11_501, 8_251), (256, 256), True),
        ((1000, 1000), (400, 400), (256, 256), True),  # a scale that is no whole number, yet no padding
        ((6144, 4608), (3072, 2560), (512, 512), False),  # padded, by another share in each axis
        ((6000, 6000), (3072, 3072), (512, 512), False),  # by the same share
        ((6144, 6144), (3000, 3000), (512, 512), False),  # level 0 is
        ((6144, 6144), (3072, 3072), (512, 512), True),  # both are, which is as good as neither
        ((6000, 6000), (3072, 3072), None, True),
        ((3600, 2400), (1280, 431), (256, 256), False),  # a macro image
        ((3600, 2400), (2400, 3600), (256, 256), False),
        ((600, 400), (1200, 800), (256, 256), False),  # larger
        ((6000, 4500), (1, 1), (256, 256), True),
    ],
)
def test_a_level_has_the_shape_of_level_0(full, level, tile, expected):
    assert is_smaller_copy(full, level, tile) is expected
