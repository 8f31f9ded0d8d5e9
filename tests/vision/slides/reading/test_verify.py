"""The fast path beside OpenSlide: a wrong colour, level or tile is found, at the cost of a few requests."""

from eva_vision.slides import open_slide
from eva_vision.slides.reading.verify import agrees


def test_agrees_tells_a_fast_path_that_is_wrong(slides):
    for name in ("ycbcr", "rgb", "single", "odd"):
        with open_slide(slides[name]) as slide:
            assert agrees(slide)
    with open_slide(slides["ycbcr"]) as slide:
        for prefix in (0, 1):
            slide._prefixes[prefix] = slide._prefixes[prefix].replace(b"Adobe\0d\0\0\0\0\x01", b"Adobe\0d\0\0\0\0\x00")
            assert not agrees(slide)
    with open_slide(slides["ycbcr"]) as slide:
        slide.levels = slide.levels[:1]
        assert not agrees(slide)


def test_a_remote_slide_is_checked_by_a_few_tiles(slides, web):
    for name in ("ycbcr", "rgb", "odd"):
        web.requests = 0
        with open_slide(f"http://127.0.0.1:{web.server_port}/{name}.svs") as slide:
            assert agrees(slide)
            assert web.requests <= 30
            # without the marker RGB is taken for YCbCr
            slide._prefixes[0] = slide._prefixes[0].replace(b"Adobe\0d", b"Adobx\0d")
            assert agrees(slide) == (slide.layout.tiles[0].colour == "YCbCr")
