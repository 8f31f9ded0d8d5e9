from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eva_core.files.sealed_records import FILES, vouch
from eva_core.reports.pictures import shown_pictures
from eva_core.reports.sources import Sources
from eva_core.reports.thumbnails import Thumbnails


def test_pictures_are_shown_where_they_are_whole(tmp_path: Path):
    Image.fromarray(np.zeros((9, 2000, 3), np.uint8)).save(tmp_path / "a.png")
    results: Any = {FILES: vouch(tmp_path, ["a.png"])}
    sources = Sources(tmp_path, results, None, Thumbnails(None, None))
    pictures: Any = [{"which": "best", "file": name, "id": "x", "score": 0.5} for name in ("a.png", "../b.png")]
    whole, gone = shown_pictures(sources, pictures)
    assert whole["image"].startswith("data:image/jpeg;base64,")
    assert (whole["title"], whole["lines"]) == ("best", ["0.500", "x"])
    assert gone["image"] == ""
