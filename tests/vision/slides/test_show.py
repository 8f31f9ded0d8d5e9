from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.cli import main
from eva_vision.synthetic.slides import write_phantom_slide


def test_show_prints_and_draws(slides, tmp_path, capsys):
    output = tmp_path / "new" / "picture.png"
    assert main(["slides", "show", str(slides["ycbcr"]), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    for fact in ("1,800 x 1,300 px", "0.25 micrometres", "aperio", "mm2", "fast path", str(output)):
        assert fact in printed
    with Image.open(output) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] > 1000
    assert ((pixels == (0, 114, 178)).all(-1)).sum() > 500  # the outline of the tissue
    assert list(output.parent.iterdir()) == [output]


def test_show_of_a_slide_without_tissue_or_mpp(slides, tmp_path, capsys):
    assert main(["slides", "show", str(slides["no_mpp"])]) == 2
    assert "micrometres per pixel" in capsys.readouterr().err
    assert main(["slides", "show", str(slides["no_mpp"]), "--mpp", "0.5"]) == 0
    assert (tmp_path.cwd() / "no_mpp.png").exists()
    assert main(["slides", "show", "missing.svs"]) == 1
    small = write_phantom_slide(tmp_path / "tiny.svs", 128, 100, levels=1, mpp=0.5)
    assert main(["slides", "show", str(small)]) == 0


@pytest.mark.parametrize("name", ["ycbcr.svs", "plain.tif"])
def test_show_of_an_address(web, bucket, plain, name, tmp_path, capsys):
    url = f"http://127.0.0.1:{web.server_port}/{name}"
    assert main(["slides", "show", url]) == 0
    assert url in capsys.readouterr().out
    assert (tmp_path.cwd() / Path(name).with_suffix(".png")).stat().st_size > 10_000
    assert (
        main(["slides", "show", f"{bucket}/{'a/one.svs' if name == 'ycbcr.svs' else name}", "--output", "b.png"]) == 0
    )
