"""Crops against torch's antialiased resize, boxes against torchvision's."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import RandomResizedCrop

from eva_pretrain.augment.crops import columns, draw_boxes, longest, other_magnification, resample, taps

CPU = torch.device("cpu")


def cut(pixels, boxes, flips, size):
    """Crop n of patch n % B."""
    x, y, width, height = torch.tensor(boxes).T
    most = pixels.shape[-1]
    source = torch.arange(len(boxes)) % len(pixels)
    across, down = taps(x, width, flips[0], size, most), taps(y, height, flips[1], size, most)
    return resample(columns(pixels), source, across, down)


@pytest.mark.parametrize("size", [7, 24, 40])
def test_crops_are_those_of_interpolate(size):
    pixels = torch.randint(0, 256, (2, 3, 33, 33), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = [(0, 0, 33, 33), (3, 5, 20, 27), (11, 0, 9, 24), (32, 32, 1, 1)]  # x, y, width, height
    flips = torch.tensor([[False, True, False, True], [False, False, True, True]])
    crops = cut(pixels, boxes, flips, size)
    for n, (x, y, width, height) in enumerate(boxes):
        box = pixels[n % 2, None, :, y : y + height, x : x + width].float() / 255
        expected = F.interpolate(box, (size, size), mode="bicubic", antialias=True).clamp(0, 1)[0]
        expected = expected.flip([axis for axis, flip in ((2, flips[0, n]), (1, flips[1, n])) if flip])
        torch.testing.assert_close(crops[n], expected, atol=2e-6, rtol=0)


def test_a_box_of_the_size_of_the_crop_is_the_patch_itself():
    pixels = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    crop = cut(pixels, [(2, 4, 8, 8)], torch.zeros(2, 1, dtype=torch.bool), 8)
    torch.testing.assert_close(crop, pixels[:, :, 4:12, 2:10] / 255)


def test_weights_stay_in_the_box_and_add_up_to_one():
    start, length = torch.tensor([0, 5, 31]), torch.tensor([32, 3, 1])
    index, weight = taps(start, length, torch.tensor([False, True, False]), 8, 32)
    torch.testing.assert_close(weight.sum(2), torch.ones(3, 8))
    assert (index.amin((1, 2)) >= start).all()
    assert (index.amax((1, 2)) < start + length).all()


def test_boxes_are_distributed_as_torchvision_draws_them():
    """Means of area, log aspect and corner of 3,000 boxes."""
    scale, aspect, side = (0.2, 1.0), (0.5, 2.0), 100
    x, y, width, height = draw_boxes(3000, side, side**2, scale, aspect, torch.Generator().manual_seed(0), CPU).double()
    torch.manual_seed(0)
    image = torch.empty(3, side, side)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, scale, aspect) for _ in range(3000)]).double()
    top, left, h, w = theirs.T
    for ours, reference, tolerance in (
        (width * height / side**2, w * h / side**2, 0.02),
        ((width / height).log(), (w / h).log(), 0.03),
        ((width / height).log().abs(), (w / h).log().abs(), 0.02),
        (x, left, 1.0),
        (y, top, 1.0),
    ):
        assert ours.mean().item() == pytest.approx(reference.mean().item(), abs=tolerance)
        assert ours.std().item() == pytest.approx(reference.std().item(), rel=0.06)


@pytest.mark.parametrize("scale", [(0.05, 0.32), (0.32, 1.0), (1.0, 1.0)])
def test_boxes_lie_in_the_patch_and_within_the_bound(scale):
    aspect = (3 / 4, 4 / 3)
    x, y, width, height = draw_boxes(500, 64, 64**2, scale, aspect, torch.Generator().manual_seed(1), CPU)
    most = longest(64, 64**2, scale, aspect)
    assert (torch.stack([x, y]) >= 0).all()
    assert (x + width).max() <= 64
    assert (y + height).max() <= 64
    assert torch.stack([width, height]).min() >= 1
    assert torch.stack([width, height]).max() <= most


@pytest.mark.parametrize(
    ("aspect", "box"),
    [
        ((0.9, 1.1), [0, 0, 64, 64]),
        ((2.0, 3.0), [0, 16, 64, 32]),
        ((0.25, 0.5), [16, 0, 32, 64]),
        ((999, 999), [0, 31, 64, 1]),
    ],
)
def test_where_no_box_fits_the_largest_in_the_centre_is_taken(aspect, box):
    boxes = draw_boxes(5, 64, 64**2, (4.0, 5.0), aspect, torch.Generator().manual_seed(0), CPU)
    assert boxes.T.tolist() == [box] * 5


def test_boxes_of_another_magnification_keep_their_aspect_where_the_patch_ends():
    boxes = torch.tensor([[40, 0, 0], [0, 50, 0], [24, 20, 64], [64, 14, 32]])
    x, y, width, height = other_magnification(boxes, 1.0, (1.5, 1.5), 64, None)
    assert (width.tolist(), height.tolist()) == ([24, 30, 64], [64, 21, 32])  # the third is as large as the patch
    assert torch.stack([x, y, 64 - x - width, 64 - y - height]).min() >= 0
