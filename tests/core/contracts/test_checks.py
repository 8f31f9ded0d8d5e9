"""What plugins give, and what eva says where it is something else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from eva_core.api import predict
from eva_core.contracts.checks import crossing_line, pixels_of, refuse_wrong_samples
from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError, UsageError
from tests.conftest import Pictures


def changed(**changes) -> Pictures:
    """Pictures whose sample 4 differs."""
    pictures = Pictures()
    pictures.samples[4] = replace(pictures.samples[4], **changes)
    return pictures


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda image: (image / 255).astype(np.float32), r"float32 \(32, 32, 3\)"),
        (lambda image: image.astype(np.uint16) * 257, "uint16"),
        (lambda image: image > 128, "bool"),
        (lambda image: image[..., 0], r"uint8 \(32, 32\)"),
        (lambda image: image[..., [0, 1, 2, 0]], r"uint8 \(32, 32, 4\)"),
        (lambda image: image.transpose(2, 0, 1), r"uint8 \(3, 32, 32\)"),
        (lambda image: image[:0], r"uint8 \(0, 32, 3\)"),
        (torch.from_numpy, "Tensor"),
        (Image.fromarray, "Image"),
        (lambda image: None, "NoneType"),
    ],
)
def test_pixels_that_are_not_uint8_rgb_are_refused(pictures, made, said):
    pixels = pictures.image
    pictures.image = lambda sample: made(pixels(sample))
    with pytest.raises(EvaError, match=rf"Expected uint8 RGB \(H, W, 3\) from Pictures.image, but got {said}"):
        pixels_of(pictures, pictures.samples[0])


def test_views_and_read_only_pixels_are_pixels(pictures):
    pixels = pictures.image

    def flipped(sample):
        image = pixels(sample)[::-1, ::-1]
        image.setflags(write=False)
        return image

    pictures.image = flipped
    assert np.array_equal(pixels_of(pictures, pictures.samples[0])[::-1, ::-1], pixels(pictures.samples[0]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "s003"}, "each id .* once, but s003"),
        ({"split": "valid"}, "splits train, val, test, cv, new .* got 'valid'"),
        ({"target": -1}, "from 0 to 1, or None .* 's004' has -1"),
        ({"target": 2}, "'s004' has 2"),
        ({"target": "b"}, "'s004' has 'b'"),
        ({"target": 1.0}, "'s004' has 1.0"),
    ],
)
def test_samples_that_would_be_left_out_mixed_up_or_scored_wrongly_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        predict("colour_stats", changed(**changes))


@pytest.mark.parametrize("changes", [{}, {"target": None}, {"target": np.int64(1)}, {"split": "new", "target": None}])
def test_samples_as_they_should_be_pass(changes):
    refuse_wrong_samples(changed(**changes))


@pytest.mark.parametrize("field", ["id", "group", "site"])
def test_names_that_are_numbers_are_refused(field):
    with pytest.raises(UsageError, match=f"the {field} of a sample as text, but got 17"):
        Sample(**{"id": "a", "split": "train", "target": 0, field: 17})


def test_a_patient_in_two_splits_is_told():
    assert crossing_line(Pictures()) is None
    assert crossing_line(changed(split="new")) is None
    line = crossing_line(changed(split="test"))
    assert line is not None
    assert "1 groups of pictures are in several splits" in line
    assert "p1 (test, train)" in line
