import numpy as np
import pytest

from eva_core.extraction.pixels import signature


def test_signature_is_the_grey_thumbnail():
    image = np.zeros((512, 512, 3), np.uint8)
    image[:256] = 240
    assert signature(image).reshape(32, 32)[:16] == pytest.approx(240)
    assert signature(image).reshape(32, 32)[16:] == pytest.approx(0)
