"""RandStainNA: conversion to Lab and back, and colours that follow their targets."""

import pytest
import torch

from eva_pretrain.augment.randstainna import colour_statistics, draw_restyle, lab_to_rgb, restyle, rgb_to_lab

KNOWN = {  # published values of the primaries under D65
    (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
    (0.0, 1.0, 0.0): (87.73, -86.18, 83.18),
    (0.0, 0.0, 1.0): (32.30, 79.19, -107.86),
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
}


@pytest.mark.parametrize(("rgb", "lab"), KNOWN.items())
def test_lab_is_cie_lab(rgb, lab):
    found = rgb_to_lab(torch.tensor(rgb).view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(found, torch.tensor(lab), atol=0.05, rtol=0)


def test_lab_and_back():
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(x)), x, atol=2e-5, rtol=0)


def test_crops_take_colours_of_the_batch():
    rng = torch.Generator().manual_seed(0)
    base = torch.tensor([0.7, 0.5, 0.65]).view(3, 1, 1)
    x = base + 0.06 * torch.randn(400, 3, 1, 1, generator=rng) + 0.05 * torch.randn(400, 3, 8, 8, generator=rng)
    x = x.clamp(0.05, 0.95)
    mean, std = colour_statistics(x)
    drawn = draw_restyle(mean, std, torch.arange(400), 1.0, rng)
    new_mean, new_std = colour_statistics(restyle(x, *drawn))
    expected = drawn.gain * mean + drawn.shift
    assert (new_mean - expected).abs().mean() < 0.7  # but for what leaves sRGB
    torch.testing.assert_close(new_mean.mean(0), mean.mean(0), atol=1.0, rtol=0)
    torch.testing.assert_close(new_mean.std(0), mean.std(0), rtol=0.25, atol=0)
    assert torch.corrcoef(torch.stack([new_mean[:, 0], mean[:, 0]]))[0, 1].abs() < 0.2  # a target of its own
    torch.testing.assert_close(new_std.mean(0), std.mean(0), rtol=0.15, atol=0)


def test_who_is_not_chosen_stays_and_glass_gains_little():
    x = torch.rand(4, 3, 8, 8)
    x[3] = 0.95 + 0.002 * torch.rand(3, 8, 8)
    mean, std = colour_statistics(x)
    drawn = draw_restyle(mean, std, torch.tensor([0, 3]), 0.0)
    assert torch.equal(restyle(x[[0, 3]], *drawn), x[[0, 3]])
    assert drawn.gain[1].max() <= 3
