"""timm networks as backbones: pooling, dense features, sizes, cards, and errors of one line."""

import pytest
import timm
import torch
from torch import Tensor

from eva_core.contracts.backbone import sha256_of_weights
from eva_core.errors import EvaError, UsageError
from eva_core.registry import build_model
from eva_vision.models.timm import timm_model
from eva_vision.models.timm_backbone import TimmBackbone

VITS = ["test_vit", "test_vit2", "test_vit3", "test_vit4"]  # only the first has a class token; the others, registers
CONVOLUTIONAL = ["test_resnet", "test_convnext", "test_efficientnet"]
TINY = {"depth": 1, "embed_dim": 32, "num_heads": 2}
REGISTERS = {"arch": "vit_small_patch14_reg4_dinov2", "depth": 2, "embed_dim": 32, "num_heads": 2, "size": 56}


def built(arch: str, **arguments: object) -> TimmBackbone:
    backbone = timm_model(arch, **arguments).eval()  # type: ignore[arg-type]
    assert isinstance(backbone, TimmBackbone)
    return backbone


def one_line(caught: pytest.ExceptionInfo[EvaError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))


# Weights and sizes.


@pytest.mark.parametrize("arch", ["test_vit", "test_resnet"])
def test_random_weights_are_seed_0_s_and_leave_the_generator_alone(arch: str):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = sha256_of_weights(built(arch))
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(2)
    assert sha256_of_weights(built(arch)) == first
    torch.manual_seed(0)
    assert sha256_of_weights(timm.create_model(arch, num_classes=0)) == sha256_of_weights(built(arch).network)


@pytest.mark.parametrize("arguments", [{}, {"size": 96}, {"size": 224}])
@pytest.mark.parametrize("arch", ["test_vit", "test_resnet"])
def test_any_multiple_of_the_patch_goes_in(arch: str, arguments: dict[str, int]):
    backbone = built(arch, **arguments)
    for side in (96, 224):
        assert backbone(torch.zeros(1, 3, side, side)).shape == (1, backbone.card.dim)


def test_size_is_that_of_the_position_embedding_and_of_the_crop():
    small, own = built("test_vit", size=96), built("test_vit")
    assert small.network.pos_embed.shape[1] == 1 + 6**2
    assert own.network.pos_embed.shape[1] == 1 + 10**2
    assert (small.card.geometry.crop, own.card.geometry.crop) == (96, 160)
    assert small.card.geometry.resize / 96 == pytest.approx(own.card.geometry.resize / 160, rel=0.01)


# The card.


def test_card_says_what_timm_says():
    config = timm.get_pretrained_cfg("vit_small_patch14_reg4_dinov2.lvd142m")
    card = built(**REGISTERS).card  # type: ignore[arg-type]
    assert (card.mean, card.std) == (config.mean, config.std)
    assert (card.dim, card.patch_size, card.prefix_tokens, card.pooling) == (32, 14, 5, "cls")
    assert card.geometry.interpolation == config.interpolation
    assert (card.licence, card.trained_on, card.collections) == (
        "unknown",
        "nothing",
        (),
    )  # random weights are not timm's
    assert card.source.startswith("none")


def test_mean_and_std_given_win_over_timm_s():
    own, given = built("test_vit").card, built("test_vit", mean=[0.7, 0.5, 0.7], std=[0.0625, 0.25, 0.25]).card
    assert own.mean != given.mean == (0.7, 0.5, 0.7)
    assert own.std != given.std == (0.0625, 0.25, 0.25)
    assert built("test_vit", mean=[0.0, 0.0, 0.0]).card.mean == (0.0, 0.0, 0.0)


def test_arguments_are_part_of_the_identity():
    asked = [{}, {"depth": 1}, {"size": 96}, {"act_layer": "relu"}]
    identities = [str(build_model("timm_model", arch="test_vit", **a).arguments) for a in asked]
    assert len(set(identities)) == len(asked)
    assert build_model("timm_model", arch="test_vit2").arguments != build_model("timm_model", arch="test_vit").arguments


def test_results_carry_the_name_of_the_architecture():
    assert build_model("timm_model", arch="test_vit").name == "test_vit"


# Errors.


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("vit_smal_patch16_224", "vit_small_patch16_224"),
        ("resnet5", "resnet50"),
        ("vit_large_patch14_dinov2s.lvd142m", "vit_large_patch14_dinov2"),
        ("ViT_Small_Patch16_224", "vit_small_patch16_224"),
    ],
)
def test_an_unknown_architecture_suggests_the_one_meant(asked: str, meant: str):
    with pytest.raises(UsageError, match=f"Unknown timm architecture '{asked}'") as caught:
        timm_model(asked)
    suggested = one_line(caught).partition("Did you mean ")[2].rstrip("?").split(" or ")
    assert meant in suggested


@pytest.mark.parametrize("asked", ["", "qqqqqqqq"])
def test_where_nothing_is_close_the_error_says_where_to_look(asked: str):
    with pytest.raises(UsageError, match="list_models") as caught:
        timm_model(asked)
    one_line(caught)


def test_an_unknown_tag_is_refused_by_name():
    with pytest.raises(UsageError, match="dinoo") as caught:
        timm_model("vit_small_patch16_224.dinoo")
    one_line(caught)


@pytest.mark.parametrize(
    "arguments",
    [
        {"depht": 3},
        {"depth": "three"},
        {"depth": -1},
        {"num_heads": 7},
        {"patch_size": 0},
        {"act_layer": "nope"},
        {"global_pool": "nope"},
        {"size": 0},
        {"size": -16},
        {"num_classes": 5},
        {"mlp_layer": "nope"},
    ],
    ids=str,
)
def test_a_bad_argument_is_one_line(arguments: dict[str, object]):
    with pytest.raises(UsageError) as caught:
        timm_model("test_vit", **arguments)  # type: ignore[arg-type]
    one_line(caught)


@pytest.mark.parametrize(
    ("arch", "arguments", "tried"),
    [
        ("test_vit", {"size": 100}, "96 or 112"),
        ("test_vit", {"size": 7}, "Try 16"),
        ("vit_small_patch14_dinov2", {**TINY, "size": 225}, "224 or 238"),
        ("eva02_tiny_patch14_224", {**TINY, "size": 100}, "98 or 112"),
        ("beit_base_patch16_224", {**TINY, "size": 100}, "96 or 112"),
    ],
)
def test_a_size_that_is_no_multiple_of_the_patch_is_refused_before_the_first_image(
    arch: str, arguments: dict[str, int], tried: str
):
    with pytest.raises(UsageError, match=f"multiple of the patch.*{tried}") as caught:
        timm_model(arch, **arguments)  # type: ignore[arg-type]
    one_line(caught)


def test_a_size_without_whole_patches_is_fine_where_the_network_takes_it():
    images = torch.zeros(1, 3, 100, 100)
    for arguments in ({"arch": "test_vit", "dynamic_img_pad": True}, {"arch": "test_resnet"}):
        assert timm_model(**arguments, size=100)(images).shape[0] == 1  # type: ignore[arg-type]


def test_a_layer_is_given_by_its_name_as_in_a_configuration():
    backbone = built("test_vit", mlp_layer="SwiGLUPacked", act_layer="silu")
    assert not backbone.network.blocks[0].mlp.gate_last
    assert backbone.arguments == {"arch": "test_vit", "mlp_layer": "SwiGLUPacked", "act_layer": "silu"}


def test_a_misspelt_argument_is_named():
    with pytest.raises(UsageError, match="depht"):
        timm_model("test_vit", depht=3)
    with pytest.raises(UsageError, match="depht"):
        timm_model("test_resnet", depht=3)


def test_a_checkpoint_and_pretrained_exclude_each_other():
    with pytest.raises(UsageError, match="both"):
        timm_model("test_vit", checkpoint="weights.safetensors", pretrained=True)


def test_an_architecture_without_dense_features_is_refused(images: Tensor):
    class Plain(torch.nn.Module):
        pretrained_cfg: dict[str, object] = {}  # noqa: RUF012
        num_features = 3

    with pytest.raises(UsageError, match="dense features"):
        TimmBackbone(Plain(), "plain").feature_map(images)


@pytest.mark.parametrize(
    ("arch", "made_for"), [("maxvit_rmlp_pico_rw_256", 256), ("levit_128s", 224), ("beit_base_patch16_224", 224)]
)
def test_a_size_that_an_architecture_cannot_take_is_told_with_one_that_it_can(arch: str, made_for: int):
    backbone = timm_model(arch).eval()
    images = torch.zeros(1, 3, 224 if made_for == 256 else 256, 224 if made_for == 256 else 256)
    with torch.no_grad(), pytest.raises(UsageError, match=rf"cannot take .* --protocol\.geometry\.crop {made_for}\."):
        backbone(images)
