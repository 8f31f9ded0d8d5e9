"""A patch that was cut from a region is the one that would have been read alone."""

import numpy as np
import pytest

from eva_pretrain.data.region_buffer import RegionBuffer
from eva_vision.slides.sampler import Sampler, Sampling, Window


@pytest.mark.parametrize(("x", "y"), [(-40, 100), (960, 700), (100, 100), (-40, -30)])
@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_what_is_said_of_a_patch_is_its_own(index, x, y, mpp):
    """Also over the border of the slide, where patches of one region lie inside to different parts."""
    corners = ((0, 0), (16, 0), (64, 48), (30, 64))
    regions = RegionBuffer(Sampler(index.entries, index.mask, Sampling(size=32, per_window=4, window=96)))
    window = Window(0, x, y, 96, mpp, corners, 32)
    with index.open(0) as slide:
        read = slide.read_patch(x, y, 96, mpp)
        cuts = [regions.cut((0, 0), 0, window, read, index.entries[0])]
        cuts += [found[1] for n in range(1, 4) if (found := regions.take((0, 0), n)) is not None]
        assert len(cuts) == 4
        for cut in cuts:
            alone = slide.read_patch(cut.x, cut.y, 32, mpp)
            assert np.array_equal(cut.pixels, alone.pixels)
            assert cut.inside == pytest.approx(alone.inside)
            assert (cut.x, cut.y, cut.mpp, cut.level, cut.reduce) == (
                alone.x, alone.y, alone.mpp, alone.level, alone.reduce,
            )  # fmt: skip
