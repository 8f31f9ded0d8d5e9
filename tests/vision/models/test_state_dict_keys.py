"""Key names of other libraries: the converted network gives what the published one gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from eva_core.errors import EvaError
from eva_vision.models.state_dict_keys import from_beit3, from_conch_v1_5, from_dinov2, from_dinov3, from_transformers
from eva_vision.models.timm_backbone import build
from tests.vision.models.forward_passes import (
    as_training_checkpoint,
    dinov2_forward,
    dinov2_state,
    hf_forward,
    hf_state,
)
from tests.vision.models.towers import (
    beit3_forward,
    beit3_state,
    conch_v1_5_state,
    dinov3_forward,
    dinov3_state,
)

IMAGES = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def tokens(arch: str, path: Path, convert: Any, images: Tensor = IMAGES, **arguments: Any) -> Tensor:
    """What the timm network makes of images with a published file in it."""
    small = {"embed_dim": 32, "num_heads": 2, "depth": 3, **arguments}
    backbone = build(arch, size=224, arch_args=small)
    backbone.load(str(path), convert=convert)
    return backbone.eval().network.forward_features(images)


@pytest.mark.parametrize(
    ("arch", "mlp", "registers", "patch", "arguments"),
    [
        ("vit_small_patch16_224", "vit", 0, 16, {}),
        ("vit_small_patch16_224", "mlp", 0, 16, {"init_values": 1e-5}),
        ("vit_giant_patch14_dinov2", "swiglu", 0, 14, {"mlp_ratio": 4.0}),
        ("vit_base_patch14_reg4_dinov2", "mlp", 4, 14, {"mlp_ratio": 2.0}),
        (
            "vit_base_patch14_reg4_dinov2",
            "swiglu",
            4,
            14,
            {"mlp_ratio": 4.0, "mlp_layer": "SwiGLUPacked", "act_layer": "silu"},
        ),
    ],
    ids=["phikon", "phikon_v2", "midnight", "registers", "hibou"],
)
@pytest.mark.parametrize("prefix", ["", "dinov2."])
def test_transformers_names_give_the_published_features(
    arch: str, mlp: str, registers: int, patch: int, arguments: dict[str, Any], prefix: str, tmp_path: Path
):
    hidden = 128 if patch == 16 else 64
    state = hf_state(32, patch, hidden, mlp, registers, depth=3, grid=224 // patch)
    save_file({prefix + name: value for name, value in state.items()}, tmp_path / "model.safetensors")
    found = tokens(arch, tmp_path / "model.safetensors", from_transformers, **arguments)
    torch.testing.assert_close(found, hf_forward(state, IMAGES, heads=2), atol=1e-4, rtol=0)


def test_positions_of_a_larger_image_are_resampled_as_transformers_does(tmp_path: Path):
    state = hf_state(32, 14, 64, "swiglu", depth=3, grid=37)
    save_file(state, tmp_path / "model.safetensors")
    found = tokens("vit_giant_patch14_dinov2", tmp_path / "model.safetensors", from_transformers, mlp_ratio=4.0)
    positions = state["embeddings.position_embeddings"]
    grid = positions[:, 1:].reshape(1, 37, 37, 32).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(16, 16), mode="bicubic", align_corners=False)
    state["embeddings.position_embeddings"] = torch.cat(
        [positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, -1, 32)], 1
    )
    torch.testing.assert_close(found, hf_forward(state, IMAGES, heads=2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("arch", "swiglu", "registers", "arguments"),
    [
        ("vit_large_patch14_dinov2", False, 0, {"mlp_ratio": 2.0}),
        ("vit_large_patch14_reg4_dinov2", False, 4, {"mlp_ratio": 2.0}),
        ("vit_giant_patch14_reg4_dinov2", True, 4, {"mlp_ratio": 4.0}),
    ],
    ids=["gpfm", "kaiko_vitl14", "openmidnight"],
)
@pytest.mark.parametrize("chunks", [0, 2])
def test_dinov2_s_names_give_the_published_features(
    arch: str, swiglu: bool, registers: int, arguments: dict[str, Any], chunks: int, tmp_path: Path
):
    state = dinov2_state(32, 14, 64, swiglu, registers, depth=3)
    torch.save({"teacher": as_training_checkpoint(state, chunks)} if chunks else state, tmp_path / "model.pth")
    found = tokens(arch, tmp_path / "model.pth", from_dinov2, **arguments)
    torch.testing.assert_close(found, dinov2_forward(state, IMAGES, heads=2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("lost", ["attention.attention.key.weight", "mlp.weights_in.bias"])
def test_a_key_that_a_published_file_lacks_is_named(lost: str, tmp_path: Path):
    state = hf_state(32, 14, 64, "swiglu", depth=3)
    del state[f"encoder.layer.1.{lost}"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(EvaError, match=r"missing blocks\.1\.(attn\.qkv\.weight|mlp\.fc1\.bias)"):
        tokens("vit_giant_patch14_dinov2", tmp_path / "model.safetensors", from_transformers, mlp_ratio=4.0)


def test_the_half_of_beit3_for_images_gives_the_published_features(tmp_path: Path):
    state = beit3_state(32, 128, grid=14, depth=2)
    save_file(state, tmp_path / "model.safetensors")
    found = tokens("beit3_large_patch16_224", tmp_path / "model.safetensors", from_beit3, depth=2, global_pool="token")
    torch.testing.assert_close(found, beit3_forward(state, IMAGES, heads=2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [224, 112])
def test_dinov3_s_names_and_rotary_positions_give_the_published_features(size: int, tmp_path: Path):
    state = dinov3_state(32, 64, depth=2, heads=2)
    torch.save(state, tmp_path / "model.pth")
    images = IMAGES[:, :1, :size, :size]
    arguments = {
        **{"in_chans": 1, "num_reg_tokens": 4, "attn_type": "eva", "qkv_bias": False, "swiglu_mlp": True},
        **{
            "mlp_ratio": 2.0,
            "swiglu_align_to": 64,
            "rope_type": "dinov3",
            "rope_rotate_half": True,
            "rope_grid_indexing": "ij",
        },
    }
    found = tokens("vit_large_patch16_rope_224", tmp_path / "model.pth", from_dinov3, images, depth=2, **arguments)
    torch.testing.assert_close(found, dinov3_forward(state, images, heads=2), atol=1e-4, rtol=0)


def test_positions_of_conch_v1_5_are_resampled_as_its_code_does():
    positions = conch_v1_5_state(32, 64)["trunk.pos_embed"]
    grid = positions[:, 1:].reshape(1, 14, 14, 32).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, scale_factor=(28.1 / 14, 28.1 / 14), mode="bicubic")
    found = from_conch_v1_5({"trunk.pos_embed": positions})["pos_embed"]
    assert found.shape == (1, 1 + 28**2, 32)
    assert torch.equal(found[:, :1], positions[:, :1])
    torch.testing.assert_close(found[:, 1:], grid.permute(0, 2, 3, 1).reshape(1, -1, 32))
