"""Where patches come from: an index stands for the settings that it was made with."""

import pytest

from eva_core.errors import EvaError, UsageError
from eva_pretrain.data.datamodule import Patches, Source
from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.index import BLOBS, LINES
from eva_vision.slides.sampler import Sampling
from eva_vision.synthetic.slides import write_phantom_slide


@pytest.fixture
def index(tmp_path):
    """An index of a slide that states no mpp."""
    slide = write_phantom_slide(tmp_path / "a.svs", 600, 500, levels=1, mpp=None)
    return build([str(slide)], tmp_path / "index", "hsv", 0.5, in_this_process).folder


def patches(tmp_path, **settings):
    return Patches(Source(**settings), Sampling(size=64, mpp=(0.5,)), 0, 1, tmp_path / "run")


def test_settings_that_an_index_was_not_made_with_are_refused(index, tmp_path):
    for settings in ({}, {"mpp": 0.5}, {"tissue": "hsv"}):
        assert len(patches(tmp_path, slides=str(index), **settings).index) == 1
    with pytest.raises(UsageError, match=r"Expected data.mpp 0.5, by which .*, but got 0.25"):
        patches(tmp_path, slides=str(index), mpp=0.25)
    with pytest.raises(UsageError, match=r"Expected data.tissue hsv, by which .*, but got otsu"):
        patches(tmp_path, slides=str(index), tissue="otsu")


def test_an_index_that_lost_its_files_is_no_pattern(index, tmp_path):
    for name in (LINES, BLOBS):
        (index / name).unlink()
    with pytest.raises(EvaError, match=r"1 slides are missing from the index in .*a.svs"):
        patches(tmp_path, slides=str(index))


def test_slides_that_cannot_be_looked_at_are_told(index, tmp_path, capsys):
    (tmp_path / "old").symlink_to("/gone")
    found = patches(tmp_path, slides=f"{tmp_path}/**/*.svs", mpp=0.5).index
    assert [entry.name for entry in found.entries] == ["a.svs"]
    assert "1 places could not be looked at: " in capsys.readouterr().err
