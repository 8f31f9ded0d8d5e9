from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.reading.sparse_copy import sparse_copy


def test_a_copy_has_the_tiles_that_were_asked_for(slides: dict[str, Path], tmp_path: Path):
    with open_slide(slides["odd"]) as slide:
        whole = slide.region(0, 1, 0, 0, 256, 256)
        sparse_copy(slide, [(0, 1, 0, 0, 256, 256)], tmp_path / "copy.svs")
    assert (tmp_path / "copy.svs").stat().st_size == slides["odd"].stat().st_size
    assert (tmp_path / "copy.svs").read_bytes() != slides["odd"].read_bytes()
    with open_slide(tmp_path / "copy.svs") as copy:
        assert copy.mpp == slide.mpp
        assert np.array_equal(copy.region(0, 1, 0, 0, 256, 256), whole)


def test_a_slide_that_is_no_tiff_by_now_is_told(slides: dict[str, Path], tmp_path: Path):
    path = tmp_path / "slide.svs"
    path.write_bytes(slides["single"].read_bytes())
    with open_slide(path) as slide:
        path.write_bytes(b"something else")
        with pytest.raises(EvaError, match=r"it is none now\. Open the slide again"):
            sparse_copy(slide, [], tmp_path / "copy.svs")
