import pytest
import timm
import torch
from torch import Tensor

from eva_core.contracts.cards import Pooling
from eva_core.errors import UsageError
from eva_vision.models.timm import timm_model
from eva_vision.models.timm_backbone import TimmBackbone
from tests.vision.models.test_timm import CONVOLUTIONAL, REGISTERS, TINY, VITS, built, one_line


def pooled(backbone: TimmBackbone, images: Tensor, pooling: Pooling) -> Tensor:
    backbone.pooling = pooling
    return backbone(images)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def with_registers() -> TimmBackbone:
    return built(**REGISTERS)  # type: ignore[arg-type]


@pytest.mark.parametrize(("arch", "arguments"), [("test_vit", {}), ("eva02_tiny_patch14_224", TINY)])
def test_poolings_by_hand(arch: str, arguments: dict[str, object], images: Tensor):
    backbone = built(arch, **arguments, global_pool="token")
    tokens = backbone.network.forward_features(images)  # (2, 1 + h * w, D)
    assert tokens.shape[1] == 1 + (112 // backbone.card.patch_size) ** 2  # type: ignore[operator]
    cls, mean = tokens[:, 0], tokens[:, 1:].mean(1)
    assert torch.equal(pooled(backbone, images, "cls"), cls)
    torch.testing.assert_close(pooled(backbone, images, "mean"), mean)
    torch.testing.assert_close(pooled(backbone, images, "cls_mean"), torch.cat([cls, mean], 1))


def test_registers_stay_out_of_every_pooling(with_registers: TimmBackbone, images: Tensor):
    assert with_registers.card.prefix_tokens == 5
    tokens = with_registers.network.forward_features(images)  # (2, 1 + 4 + 64, D)
    assert tokens.shape[1] == 69
    cls, mean = tokens[:, 0], tokens[:, 5:].mean(1)
    assert torch.equal(pooled(with_registers, images, "cls"), cls)
    torch.testing.assert_close(pooled(with_registers, images, "mean"), mean)
    torch.testing.assert_close(pooled(with_registers, images, "cls_mean"), torch.cat([cls, mean], 1))
    assert not torch.allclose(mean, tokens[:, 1:].mean(1))  # else this would prove nothing


def test_a_distillation_token_counts_as_prefix(images: Tensor):
    backbone = built("deit_tiny_distilled_patch16_224", **TINY)
    tokens = backbone.network.forward_features(images)
    torch.testing.assert_close(pooled(backbone, images, "mean"), tokens[:, 2:].mean(1))


@pytest.mark.parametrize(("arch", "arguments"), [("test_vit2", {}), ("vit_medium_patch16_reg4_gap_256", TINY)])
def test_registers_without_a_class_token_are_never_taken_for_one(
    arch: str, arguments: dict[str, object], images: Tensor
):
    backbone = built(arch, **arguments)
    assert backbone.card.pooling == "mean"
    tokens = backbone.network.forward_features(images)
    by_hand = backbone.network.fc_norm(tokens[:, backbone.card.prefix_tokens :].mean(1))
    for pooling in ("cls", "mean", "cls_mean"):
        torch.testing.assert_close(pooled(backbone, images, pooling), by_hand)


@pytest.mark.parametrize("arch", ["eva02_tiny_patch14_224", "beit_base_patch16_224", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("global_pool", ["avg", "token"])
def test_the_card_s_pooling_is_what_the_network_was_made_for(arch: str, global_pool: str, images: Tensor):
    backbone = built(arch, **TINY, global_pool=global_pool, size=112)
    assert backbone.card.pooling == {"avg": "mean", "token": "cls"}[global_pool]
    for norm in ("norm", "fc_norm"):
        if isinstance(layer := getattr(backbone.network, norm), torch.nn.LayerNorm):
            layer.weight.uniform_(0.5, 2)  # a fresh one does not show whether it is there
    own = backbone.network.forward_head(backbone.network.forward_features(images), pre_logits=True)
    torch.testing.assert_close(pooled(backbone, images, backbone.card.pooling), own)


@pytest.mark.parametrize("arch", CONVOLUTIONAL)
def test_a_network_without_class_token_has_its_own_pooling(arch: str, images: Tensor):
    backbone = built(arch)
    own = timm.create_model(arch, num_classes=0).eval()
    own.load_state_dict(backbone.network.state_dict())
    for pooling in ("cls", "mean"):
        torch.testing.assert_close(pooled(backbone, images, pooling), own(images))
    assert own(images).shape == (2, backbone.card.dim)


@pytest.mark.parametrize("arch", VITS)
def test_feature_map_of_a_vit_is_its_patch_tokens_in_rows(arch: str):
    backbone = built(arch)
    images = torch.randn(2, 3, 64, 96)
    dense = backbone.feature_map(images)
    assert dense.shape == (2, backbone.card.dim, 4, 6)
    tokens = backbone.network.forward_features(images)[:, 1:]  # one class token, or one register
    torch.testing.assert_close(dense, tokens.transpose(1, 2).unflatten(2, (4, 6)))


def test_feature_map_leaves_registers_out(with_registers: TimmBackbone, images: Tensor):
    tokens = with_registers.network.forward_features(images)[:, 5:]
    torch.testing.assert_close(with_registers.feature_map(images).flatten(2), tokens.transpose(1, 2))


def test_layers_are_blocks_normalised_and_stacked_in_the_order_asked_for(images: Tensor):
    backbone = built("test_vit")
    seen: list[Tensor] = []
    hooks = [b.register_forward_hook(lambda _, __, output: seen.append(output)) for b in backbone.network.blocks]
    backbone.network.forward_features(images)
    for hook in hooks:
        hook.remove()
    by_hand = [backbone.network.norm(x)[:, 1:].transpose(1, 2).unflatten(2, (7, 7)) for x in seen]
    for layers in ([0], [1, 3], [3, 1], [-1, 0], [2, 2]):
        expected = torch.cat([by_hand[layer] for layer in layers], 1)
        torch.testing.assert_close(backbone.feature_map(images, layers), expected)
    torch.testing.assert_close(backbone.feature_map(images), by_hand[-1])


def test_a_layer_that_is_not_there_is_refused(images: Tensor):
    backbone = built("test_vit")
    for layer in (len(backbone.network.blocks), -1 - len(backbone.network.blocks)):
        with pytest.raises(UsageError, match=str(layer)) as caught:
            backbone.feature_map(images, [0, layer])
        one_line(caught)


@pytest.mark.parametrize("arch", CONVOLUTIONAL)
def test_stages_of_a_cnn_are_brought_to_the_size_of_the_first(arch: str):
    backbone, images = built(arch), torch.randn(2, 3, 96, 128)
    last, before = backbone.feature_map(images), backbone.feature_map(images, [-2])
    assert last.shape[2:] == (3, 4)
    assert before.shape[2:] == (6, 8)
    both = backbone.feature_map(images, [-2, -1])
    assert both.shape == (2, before.shape[1] + last.shape[1], 6, 8)
    torch.testing.assert_close(both[:, : before.shape[1]], before)
    upwards = backbone.feature_map(images, [-1, -2])
    assert upwards.shape[2:] == (3, 4)
    torch.testing.assert_close(upwards[:, : last.shape[1]], last)


@pytest.mark.parametrize(("arch", "layer"), [("test_vit", 1), ("test_convnext", 2), ("test_convnext", -1)])
def test_a_layer_pools_its_feature_map(arch: str, layer: int):
    model = timm_model(arch, layer=layer).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        embedding, dense = model(images), model.feature_map(images, [layer])
    assert embedding.shape == (2, model.card.dim)
    torch.testing.assert_close(embedding, dense.mean((2, 3)))
    assert model.arguments["layer"] == layer


def test_a_layer_that_is_not_there():
    with pytest.raises(UsageError, match="Expected layers from -4 to 3, but got"):
        timm_model("test_convnext", layer=4)


def test_maps_without_a_norm_are_taken_as_they_are():
    backbone = timm_model("hiera_tiny_224").eval()
    with torch.no_grad():
        found = backbone.feature_map(torch.zeros(1, 3, 224, 224), [0, 1])
    assert found.shape[0] == 1
    assert found.ndim == 4


@pytest.mark.parametrize(
    ("arch", "arguments"),
    [
        ("test_vit", {}),
        ("eva02_tiny_patch14_224", TINY),
        (REGISTERS["arch"], {k: v for k, v in REGISTERS.items() if k != "arch"}),
        ("test_convnext", {}),
        ("test_efficientnet", {}),
        ("test_vit", {"layer": 1}),
    ],
)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_embedding_and_map_of_one_pass_are_those_of_two(arch, arguments, pooling: Pooling, images: Tensor):
    backbone = built(arch, **arguments)
    backbone.pooling = pooling
    embeddings, maps = backbone.embed_with_map(images)
    assert torch.equal(embeddings, backbone(images))
    assert torch.equal(maps, backbone.feature_map(images))


def test_a_head_on_the_tokens_makes_the_embedding_whatever_pooling_is_asked_for(images: Tensor):
    backbone = built("test_vit")
    backbone.network.token_head = torch.nn.Flatten()
    for pooling in ("cls", "mean", "cls_mean"):
        assert torch.equal(pooled(backbone, images, pooling), backbone.network.forward_features(images).flatten(1))
    assert torch.equal(backbone.embed_with_map(images)[0], backbone(images))
