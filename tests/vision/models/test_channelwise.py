"""A network of one channel: red, green and blue one by one."""

import pytest
import torch

from eva_vision.models.channelwise import ChannelwiseBackbone
from eva_vision.models.timm_backbone import build

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def backbone() -> ChannelwiseBackbone:
    made = build("test_vit", size=64, arch_args={"in_chans": 1}, kind=ChannelwiseBackbone)
    assert isinstance(made, ChannelwiseBackbone)
    return made.eval()


@pytest.mark.parametrize("pooling", ["cls", "cls_mean"])
@torch.inference_mode()
def test_the_embedding_is_that_of_red_then_green_then_blue(backbone: ChannelwiseBackbone, pooling: str):
    backbone.pooling = pooling  # type: ignore[assignment]
    found = backbone(IMAGES)
    single = build("test_vit", size=64, arch_args={"in_chans": 1}).eval()
    single.pooling = pooling  # type: ignore[assignment]
    torch.testing.assert_close(found, torch.cat([single(IMAGES[:, [c]]) for c in range(3)], 1))
    embeddings, maps = backbone.embed_with_map(IMAGES)
    assert torch.equal(embeddings, found)
    assert torch.equal(maps, backbone.feature_map(IMAGES))


@torch.inference_mode()
def test_so_is_the_feature_map_of_each_layer(backbone: ChannelwiseBackbone):
    found = backbone.feature_map(IMAGES, [0, 1])
    single = build("test_vit", size=64, arch_args={"in_chans": 1}).eval()
    torch.testing.assert_close(found, torch.cat([single.feature_map(IMAGES[:, [c]], [0, 1]) for c in range(3)], 1))
    assert found.shape[2:] == (4, 6)
