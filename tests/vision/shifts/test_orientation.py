import numpy as np
from PIL import Image

from eva_vision.shifts.orientation import flip, quarter_turn


def test_turns_and_mirror_images_are_those_of_pillow():
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    shown = Image.fromarray(image)
    for degrees in (90, 180, 270):
        assert (quarter_turn(image, str(degrees)) == np.asarray(shown.rotate(degrees, expand=True))).all()
    assert (flip(image, "left_right") == np.asarray(shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).all()
    assert (flip(image, "up_down") == np.asarray(shown.transpose(Image.Transpose.FLIP_TOP_BOTTOM))).all()
