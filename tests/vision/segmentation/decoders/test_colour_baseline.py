"""The baseline of colour: it finds what colour alone explains, and nothing that it does not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import uniform_filter

from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.decoders.colour_baseline import SMOOTH, ColourPixels, colours, fit_colour
from eva_vision.segmentation.decoders.losses import dice_ce_loss, dice_loss
from eva_vision.segmentation.features.batches import Batch
from eva_vision.segmentation.scoring.metrics import counts, over_classes, per_class
from tests.vision.segmentation.tiny import coloured, painted


def tiles(seed: int, n: int = 4, noise: float = 0.05, side: int = 20) -> Batch:
    """Pictures whose colours are their classes, with noise on every pixel."""
    random = np.random.default_rng(seed)
    masks = np.stack([painted(side, side, 10 * seed + i) for i in range(n)])
    images = np.stack([coloured(mask) for mask in masks]).transpose(0, 3, 1, 2) / 255
    images = torch.from_numpy(images + random.normal(0, noise, images.shape)).float()
    return Batch(torch.zeros(n, 1, 1, 1), images, torch.from_numpy(masks).long())


def dice(model: ColourPixels, batch: Batch) -> float:
    with torch.inference_mode():
        found = model(batch.features, batch.images).argmax(1).byte().numpy()
    counted = np.stack([counts(p, t, 3) for p, t in zip(found, batch.masks.byte().numpy(), strict=True)])
    return float(np.nanmean(over_classes(per_class(counted, "penalise")[0], 0)))


@pytest.mark.parametrize("loss", [dice_loss, dice_ce_loss])
def test_a_rule_of_colour_is_found(loss):
    model = fit_colour([tiles(0), tiles(1)], 8, 3, loss)
    assert dice(model, tiles(2)) > 0.95


def test_faint_colours_are_enough():
    strong, other = tiles(0, noise=0.0), tiles(2, noise=0.0)
    faint, unseen = (Batch(b.features, 0.6 + 0.02 * b.images, b.masks) for b in (strong, other))
    assert dice(fit_colour([faint], 4, 3, dice_ce_loss), unseen) > 0.95


def test_noise_on_single_pixels_is_smoothed_away():
    """Where a pixel alone says little, its surroundings do."""
    batch = tiles(0, noise=0.6, side=60)
    large = np.stack([painted(60, 60, i, block=30) for i in range(4)])
    images = torch.from_numpy(np.stack([coloured(m) for m in large]).transpose(0, 3, 1, 2) / 255).float()
    noisy = images + torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * 0.6
    batch = Batch(batch.features, noisy, torch.from_numpy(large).long())
    model = fit_colour([batch], 4, 3, dice_ce_loss)
    weight = model.linear.weight[:, :, 0, 0].detach()
    assert weight[:, 3:].abs().mean() > 2 * weight[:, :3].abs().mean()
    assert dice(model, batch) > 0.8


def test_a_class_without_a_colour_of_its_own_is_not():
    batch = tiles(0)
    shuffled = batch.masks.flatten()[torch.randperm(batch.masks.numel())].view_as(batch.masks)
    assert dice(fit_colour([batch], 4, 3, dice_loss), Batch(batch.features, batch.images, shuffled)) < 0.5


def test_the_same_tiles_give_the_same_model():
    torch.manual_seed(1)
    first = fit_colour([tiles(0)], 4, 3, dice_loss).state_dict()
    torch.manual_seed(2)
    again = fit_colour([tiles(0)], 4, 3, dice_loss).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_pixels_that_are_ignored_teach_nothing():
    batch = tiles(0)
    hidden = batch.masks.clone()
    hidden[:, :10] = IGNORE
    images = batch.images.clone()
    images[:, :, : 10 - SMOOTH // 2 - 1] = torch.rand(4, 3, 10 - SMOOTH // 2 - 1, 20)
    one = fit_colour([Batch(batch.features, batch.images, hidden)], 4, 3, dice_ce_loss).state_dict()
    two = fit_colour([Batch(batch.features, images, hidden)], 4, 3, dice_ce_loss).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_tile_of_which_nothing_counts_is_left_out():
    batch = tiles(0)
    blind = Batch(batch.features, torch.rand_like(batch.images), torch.full_like(batch.masks, IGNORE))
    with_it, without = (fit_colour(b, 8, 3, dice_loss).state_dict() for b in ([batch, blind], [batch]))
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_masks_of_another_size_than_the_image():
    batch = tiles(0, noise=0.01)
    large = Batch(batch.features, batch.images, F.interpolate(batch.masks[:, None].float(), (40, 40))[:, 0].long())
    model = fit_colour([large], 4, 3, dice_loss)
    assert dice(model, tiles(2, noise=0.01)) > 0.9


def test_colours_are_those_of_a_pixel_and_of_the_square_around_it():
    image = torch.rand(1, 3, 30, 25)
    found = colours(image)
    assert found.shape == (1, 6, 30, 25)
    assert torch.equal(found[:, :3], image)
    inside = np.s_[:, SMOOTH // 2 : -(SMOOTH // 2), SMOOTH // 2 : -(SMOOTH // 2)]
    expected = uniform_filter(image[0].double().numpy(), (0, SMOOTH, SMOOTH))
    assert np.allclose(found[0, 3:].numpy()[inside], expected[inside], atol=1e-6)
    assert found[0, 3:, 0, 0].numpy() == pytest.approx(image[0, :, :5, :5].mean((1, 2)).numpy(), abs=1e-6)
