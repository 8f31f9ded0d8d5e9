"""Each operation against torchvision's, with a factor of its own for every image."""

import pytest
import torch
import torchvision.transforms.functional as tv

from eva_pretrain.augment.colour import draw_jitter, rotate_hue, scale_colour, solarise

CPU = torch.device("cpu")
ONES = torch.ones(3)


@pytest.fixture
def images():
    """Random colours, and ties: greys, two channels equal, black, white."""
    x = torch.rand(3, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    x[0, :, 0] = torch.linspace(0, 1, 11)
    x[1, 1, :4] = x[1, 0, :4]
    x[1, 2, 4:] = x[1, 1, 4:]
    x[2, :2, :, :5] = 0
    return x


@pytest.mark.parametrize("turns", [[0.0, 0.1, -0.1], [0.5, -0.5, 0.33]])
def test_hue(images, turns):
    expected = torch.stack([tv.adjust_hue(image, turn) for image, turn in zip(images, turns, strict=True)])
    torch.testing.assert_close(rotate_hue(images.clone(), torch.tensor(turns)), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("place", "reference"), [(0, tv.adjust_brightness), (1, tv.adjust_contrast), (2, tv.adjust_saturation)]
)
def test_brightness_contrast_and_saturation(images, place, reference):
    factors = torch.tensor([0.0, 0.6, 1.4])
    expected = torch.stack([reference(image, f.item()) for image, f in zip(images, factors, strict=True)])
    given = [ONES] * 3
    given[place] = factors
    # torchvision's weights of grey add up to 0.9999
    torch.testing.assert_close(scale_colour(images.clone(), *given), expected, atol=3e-4, rtol=0)


def test_together_they_are_torchvisions_where_nothing_is_cut(images):
    images = 0.3 + 0.4 * images
    factors = torch.tensor([[1.1, 0.9, 1.0], [0.8, 1.2, 0.9], [1.2, 0.8, 0.0]])
    expected = torch.stack(
        [
            tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(image, b), c), s)
            for image, (b, c, s) in zip(images, factors.T.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(scale_colour(images.clone(), *factors), expected, atol=3e-4, rtol=0)


def test_neutral_factors_change_nothing(images):
    torch.testing.assert_close(scale_colour(images.clone(), ONES, ONES, ONES), images)
    torch.testing.assert_close(rotate_hue(images.clone(), torch.zeros(3)), images, atol=1e-6, rtol=0)


def test_saturation_0_is_grey(images):
    grey = scale_colour(images.clone(), ONES, ONES, torch.zeros(3))
    torch.testing.assert_close(grey, tv.rgb_to_grayscale(images, 3), atol=3e-4, rtol=0)


def test_solarise_is_of_the_images_chosen(images):
    images[0, 0, 0, :3] = torch.tensor([0.5, 1.0, 0.0])
    result = solarise(images.clone(), torch.tensor([True, False, True]))
    torch.testing.assert_close(result[0::2], tv.solarize(images[0::2], 0.5))
    assert torch.equal(result[1], images[1])


def test_factors_are_drawn_in_their_ranges_and_at_the_rates_asked():
    drawn = draw_jitter(20_000, 0.8, (0.1, 0.4, 1.5, 0.2), 0.2, torch.Generator().manual_seed(0), CPU)
    hue, brightness, contrast, saturation = drawn
    left = hue == 0
    assert left.float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.equal(left, brightness == 1)
    grey = saturation == 0
    assert grey.float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert grey[left].float().mean().item() == pytest.approx(0.2, abs=0.02)  # of its own coin
    for factor, low, high in (
        (hue, -0.1, 0.1),
        (brightness, 0.6, 1.4),
        (contrast, 0, 2.5),
        (saturation[~grey], 0.8, 1.2),
    ):
        reach = high - low
        assert low <= factor.min() < low + 0.01 * reach
        assert high - 0.01 * reach < factor.max() <= high
