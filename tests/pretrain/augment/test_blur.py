"""Blur against torchvision's; how often it is applied."""

import pytest
import torch
import torchvision.transforms.functional as tv

from eva_pretrain.augment.blur import _blurred, blur, draw_sigma

CPU = torch.device("cpu")


def test_each_image_is_blurred_by_its_own_sigma():
    images = torch.rand(4, 3, 12, 17, generator=torch.Generator().manual_seed(0))
    sigmas = [0.1, 0.0, 0.8, 2.0]
    result = blur(images.clone(), torch.tensor(sigmas))
    for image, sigma, blurred in zip(images, sigmas, result, strict=True):
        expected = tv.gaussian_blur(image, [9, 9], [sigma, sigma]) if sigma else image
        torch.testing.assert_close(blurred, expected, atol=1e-6, rtol=0)


def test_sigma_0_changes_nothing_however_it_is_computed():
    images = torch.rand(2, 3, 5, 6)
    assert torch.equal(blur(images.clone(), torch.zeros(2)), images)
    mixed = blur(images.clone(), torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed[0], images[0])
    assert not torch.allclose(mixed[1], images[1])
    assert torch.equal(_blurred(images, torch.zeros(2)), images)  # what accelerators do


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_sigma_is_drawn_at_the_rate_asked(rate):
    sigma = draw_sigma(20_000, rate, torch.Generator().manual_seed(0), CPU)
    chosen = sigma[sigma > 0]
    assert len(chosen) / 20_000 == pytest.approx(rate, abs=0.01)
    if rate:
        assert 0.1 <= chosen.min() < 0.12
        assert 1.98 < chosen.max() <= 2.0
