import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eva_core.contracts.sections import Section
from eva_vision.slide_level.pictures.plots import as_png

CURVES: Any = {
    "kind": "curves",
    "title": "Kaplan-Meier",
    "note": "Patients above the median, and the others; log-rank p = 0.1. More.",
    "x": "time",
    "y": "without the event",
    "series": [{"name": "higher $risk", "points": [(0.0, 1.0), (2.0, 0.5)], "marks": [1.0]}],
    "ranges": ((0.0, 4.0), (0.0, 1.0)),
    "step": True,
    "counts": {"name": "at risk", "at": [0.0, 2.0, 4.0], "rows": [[9, 4, 0]]},
}
SCATTER: Any = {
    "kind": "scatter",
    "title": "Truth and prediction",
    "note": "On the line both agree.",
    "x": "true",
    "y": "predicted",
    "points": [(1.0, 1.0)],
    "ids": ["a"],
}


@pytest.mark.parametrize("section", [CURVES, SCATTER], ids=["curves", "scatter"])
def test_sections_as_pictures(section: Section):
    with Image.open(io.BytesIO(as_png(section, "title"))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] > 900
    assert (np.abs(pixels - (139, 58, 114)).sum(-1) < 120).sum() > 20  # the colour of the first line


def test_other_sections_are_no_plots():
    with pytest.raises(ValueError, match="Expected a section of curves or points, but got note"):
        as_png({"kind": "note", "title": "", "note": ""}, "t")
