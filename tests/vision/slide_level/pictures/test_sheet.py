from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_vision.slide_level.pictures.sheet import Patch, Scale, attention_scale, heat_map, sized, write_sheet


def test_scales():
    assert Scale("a", 0, 2).places(np.array([-1.0, 1.0, 3.0])).tolist() == [0, 0.5, 1]
    assert Scale("a", 0.25, 4, True).places(np.array([0.25, 1.0, 4.0])).tolist() == [0, 0.5, 1]
    assert Scale("a", 1, 1).places(np.array([1.0])).tolist() == [0]  # all alike
    wide = attention_scale(np.array([1e-9, 900.0]))
    assert (wide.low, wide.high) == (1 / 16, 16)
    even = attention_scale(np.ones(4))
    assert (even.low, even.high) == (0.5, 2)


def test_a_patch_is_coloured_where_it_lies():
    thumbnail = np.full((50, 100, 3), 200, np.uint8)
    colours = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    picture = heat_map(thumbnail, np.array([[0, 0], [500, 200]]), 100, colours, slide_width=1000)
    red, blue = picture[..., 0].astype(int) > picture[..., 2], picture[..., 2].astype(int) > picture[..., 0]
    assert np.argwhere(red).min(0).tolist() == [0, 0]
    assert np.argwhere(red).max(0).tolist() == [9, 9]
    assert np.argwhere(blue).min(0).tolist() == [20, 50]
    assert np.argwhere(blue).max(0).tolist() == [29, 59]
    tiny = heat_map(thumbnail, np.array([[0, 0]]), 1, colours[:1], slide_width=1000)
    assert tiny[0, 0, 0] > tiny[0, 0, 2]  # a pixel at least


@pytest.mark.parametrize("shape", [(2000, 100, 3), (40, 60, 3), (500, 500, 3)])
def test_thumbnails_fit_the_panel(shape: tuple[int, int, int]):
    height, width = sized(np.zeros(shape, np.uint8)).shape[:2]
    assert height <= 620
    assert width <= 520
    assert max(height, width) >= 420
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.05)


def test_a_sheet_is_drawn_whatever_the_names(tmp_path: Path):
    panel, patch = np.full((420, 300, 3), 230, np.uint8), Patch(np.zeros((64, 64, 3), np.uint8), "x 1.2" * 30)
    path = tmp_path / "a.png"
    scale = Scale("attention", 0.5, 2, True)
    write_sheet(path, "t" * 500, ["l" * 500], [panel, panel], scale, {"most": [patch] * 4, "least": [patch]})
    with Image.open(path) as sheet:
        assert sheet.width < 1100
        assert sheet.height > 420
