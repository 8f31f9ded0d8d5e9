import numpy as np
import openslide
import pytest
import tifffile

from eva_core.errors import UsageError
from eva_vision.synthetic.slides import phantom_tissue, write_phantom_slide


def test_openslide_takes_it_for_aperio(tmp_path):
    path = write_phantom_slide(tmp_path / "new" / "a.svs", 1200, 900, levels=3, mpp=0.25)
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.level_dimensions == ((1200, 900), (300, 225), (75, 56))
        assert float(slide.properties["openslide.mpp-x"]) == 0.25
        assert slide.properties["openslide.objective-power"] == "40"
        pixels = np.asarray(slide.read_region((0, 0), 0, (1200, 900)).convert("RGB"), float)
    assert np.abs(pixels - phantom_tissue(1200, 900, 0)).mean() < 6  # what JPEG takes


def test_tifffile_finds_nothing_odd(tmp_path, caplog):
    with tifffile.TiffFile(write_phantom_slide(tmp_path / "a.svs", 600, 500, levels=2)) as tiff:
        assert [page.is_tiled for page in tiff.pages] == [True, False, True]
        assert tiff.pages[0].description.startswith("Aperio")
    assert not caplog.records


def test_a_seed_decides_every_byte(tmp_path):
    a, b, c = (write_phantom_slide(tmp_path / "x.svs", 500, 400, seed=s, levels=1).read_bytes() for s in (1, 1, 2))
    assert a == b != c


def test_there_is_tissue_and_glass():
    pixels = phantom_tissue(1500, 1100, 0).astype(int)
    stained = np.ptp(pixels, axis=-1) > 15
    assert 0.25 < stained.mean() < 0.75
    assert not stained[:40, :40].any()


def test_no_mpp_and_other_colours(tmp_path):
    path = write_phantom_slide(tmp_path / "a.svs", 500, 400, levels=1, mpp=None, colour="RGB")
    with openslide.OpenSlide(path) as slide:
        assert "openslide.mpp-x" not in slide.properties
        pixels = np.asarray(slide.read_region((0, 0), 0, (500, 400)).convert("RGB"), float)
    assert np.abs(pixels - phantom_tissue(500, 400, 0)).mean() < 6


@pytest.mark.parametrize("wrong", [{"tile": 100}, {"levels": 0}, {"levels": 9}])
def test_nonsense_is_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="multiple of 16"):
        write_phantom_slide(tmp_path / "a.svs", 600, 500, **wrong)
