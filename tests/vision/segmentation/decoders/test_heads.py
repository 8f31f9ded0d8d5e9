"""The decoders that are shipped: their layers, one by one, against the same written out."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva_vision.segmentation.contracts import SegmentationHead
from eva_vision.segmentation.decoders.heads import ConvSeg, ConvSegImage, LinearSeg

FEATURES, IMAGES = (
    torch.rand(shape, generator=torch.Generator().manual_seed(0)) for shape in ((2, 5, 4, 4), (2, 3, 32, 32))
)


def weights(decoder: nn.Module) -> list[Tensor]:
    return [p.detach() for p in decoder.parameters()]


def double(x: Tensor) -> Tensor:
    """Nearest, by repetition."""
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_linear_seg_is_one_linear_layer_on_every_position():
    decoder = LinearSeg().decoder(5, 3)
    weight, bias = weights(decoder)
    expected = torch.einsum("bdhw,cd->bchw", FEATURES, weight[:, :, 0, 0]) + bias[:, None, None]
    torch.testing.assert_close(decoder(FEATURES, IMAGES), expected)


def test_conv_seg_is_twice_upsampling_and_convolution_without_the_image():
    decoder = ConvSeg().decoder(5, 3)
    w1, b1, w2, b2 = weights(decoder)
    assert [tuple(w.shape) for w in (w1, w2)] == [(64, 5, 3, 3), (3, 64, 3, 3)]
    expected = F.conv2d(double(F.conv2d(double(FEATURES), w1, b1, padding=1)), w2, b2, padding=1)
    found = decoder(FEATURES, IMAGES)
    assert found.shape == (2, 3, 16, 16)
    torch.testing.assert_close(found, expected)
    assert torch.equal(found, decoder(FEATURES, torch.zeros_like(IMAGES)))


@pytest.mark.parametrize("training", [True, False])
def test_conv_seg_image_is_the_published_decoder_layer_by_layer(training: bool):
    torch.manual_seed(0)
    decoder = ConvSegImage().decoder(5, 4).train(training)
    layers = weights(decoder)
    assert [tuple(w.shape) for w in layers if w.ndim == 4] == [
        *((64, 5, 3, 3), (32, 67, 3, 3), (32, 32, 3, 3), (4, 32, 1, 1))
    ]

    def block(x: Tensor, at: int) -> Tensor:
        w, b, gamma, beta = layers[at : at + 4]
        x = F.conv2d(x, w, b, padding=1)
        mean, var = (
            (x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)) if training else (torch.zeros(()), torch.ones(()))
        )
        scaled = (x - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + 1e-5).sqrt()
        return (scaled * gamma[:, None, None] + beta[:, None, None]).relu()

    reduced = F.interpolate(block(double(FEATURES), 0), (32, 32), mode="bilinear", align_corners=False)
    refined = block(block(torch.cat([reduced, IMAGES], 1), 4), 8)
    torch.testing.assert_close(decoder(FEATURES, IMAGES), F.conv2d(refined, *layers[12:]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", [LinearSeg(), ConvSeg(), ConvSegImage()])
def test_initialisation_is_that_of_torch(head: SegmentationHead):
    torch.manual_seed(3)
    ours = weights(head.decoder(5, 3))
    torch.manual_seed(3)
    convolutions = [nn.Conv2d(w.shape[1], w.shape[0], w.shape[2]) for w in ours if w.ndim == 4]
    theirs = [p for layer in convolutions for p in layer.parameters()]
    found = [p for w, b in pairwise(ours) if w.ndim == 4 for p in (w, b)]
    assert all(torch.equal(a, b) for a, b in zip(found, theirs, strict=True))
