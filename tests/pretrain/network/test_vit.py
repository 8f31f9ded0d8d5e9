import numpy as np
import pytest
import torch

from eva_core.errors import UsageError
from eva_pretrain.network.vit import Architecture, Vit, resized_positions, resizing_weights
from tests.pretrain.references import dinov2

TINY = Architecture("vit_tiny_patch16_224", size=32, arguments={"depth": 2})


def test_tokens_are_timms():
    vit = Vit(TINY, student=False, masked=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens, expected = vit(images), vit.network.forward_features(images)
    torch.testing.assert_close(tokens.cls, expected[:, 0])
    torch.testing.assert_close(tokens.patches, expected[:, 1:])


@pytest.mark.parametrize(
    ("arch", "arguments"),
    [
        ("vit_small_patch14_reg4_dinov2", {"depth": 1}),
        ("vit_tiny_patch16_224", {"depth": 1, "mlp_layer": "SwiGLUPacked", "init_values": 1e-5}),
        ("vit_small_patch8_224", {"depth": 1, "reg_tokens": 2}),
    ],
)
def test_registers_layer_scale_swiglu_and_other_sizes(arch, arguments):
    architecture = Architecture(arch, size=56 if "14" in arch else 64, arguments=arguments, drop_path=0.2)
    vit = Vit(architecture, student=True, masked=True).eval()
    small = architecture.size // 2
    with torch.no_grad():
        tokens = vit(torch.randn(2, 3, small, small))
    rows, columns = vit.grid(small)
    assert tokens.cls.shape == (2, vit.dim)
    assert tokens.patches.shape == (2, rows * columns, vit.dim)


ROTARY = {"depth": 2, "embed_dim": 48, "num_heads": 3}


@pytest.mark.parametrize(
    ("arch", "arguments"),
    [
        ("vit_small_patch16_dinov3", ROTARY),
        ("vit_small_patch16_rope_mixed_224", ROTARY),
        ("vit_small_patch16_rope_ape_224", ROTARY),
        ("eva02_tiny_patch14_224", {**ROTARY, "patch_size": 16}),
    ],
)
@pytest.mark.parametrize("size", [64, 32])
def test_tokens_of_rotary_networks_are_timms(arch, arguments, size):
    vit = Vit(Architecture(arch, 64, arguments), student=False, masked=True).eval()
    images, prefix = torch.randn(2, 3, size, size), vit.network.num_prefix_tokens
    with torch.inference_mode():
        expected = vit.network.forward_features(images)
        tokens = vit(images)
    torch.testing.assert_close(tokens.cls, expected[:, 0])
    torch.testing.assert_close(tokens.patches, expected[:, prefix:])
    vit(images).patches.sum().backward()
    assert vit.network.blocks[0].attn.proj.weight.grad.isfinite().all()


def test_rotary_networks_have_masks_drop_path_and_checkpointing():
    gradients = []
    for checkpointing in (False, True):
        architecture = Architecture(
            "vit_small_patch16_dinov3",
            32,
            {**ROTARY, "rope_rescale_coords": 2.0},
            drop_path=0.3,
            drop_path_everywhere=True,
            checkpointing=checkpointing,
        )
        torch.manual_seed(1)  # equal weights
        vit = Vit(architecture, student=True, masked=True).train()
        torch.manual_seed(0)  # equal drops and jitter
        images, hidden = torch.randn(4, 3, 32, 32), torch.tensor([[True, False, False, False]] * 4)
        seen = vit(images, hidden).cls
        (seen * torch.linspace(0, 1, seen.shape[1])).sum().backward()  # their plain sum is that of a norm: a constant
        gradients.append(vit.network.blocks[0].attn.proj.weight.grad)
        assert not torch.equal(vit(images, hidden).cls, seen)  # positions are jittered, blocks dropped
        assert vit.mask_token.grad.any()
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=0)  # those of scaled layers are small


def test_a_hidden_patch_is_not_seen():
    vit = Vit(TINY, student=False, masked=True).eval()
    images = torch.randn(1, 3, 32, 32)
    other = images.clone()
    other[..., :16, :16] += 1
    hidden = torch.tensor([[True, False, False, False]])
    with torch.no_grad():
        torch.testing.assert_close(vit(images, hidden).patches, vit(other, hidden).patches)
        assert not torch.allclose(vit(images).patches, vit(other).patches)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        vit = Vit(Architecture(TINY.arch, 32, TINY.arguments, checkpointing=checkpointing), student=True, masked=True)
        torch.manual_seed(1)
        vit(torch.randn(2, 3, 32, 32)).cls.sum().backward()
        gradients.append(vit.network.blocks[0].attn.qkv.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("size", [96, 384])
@pytest.mark.parametrize(("offset", "reference"), [(0.0, "0.0_aa0"), (0.1, "0.1_aa0"), (None, "0.0_aa1")])
def test_positions_are_resized_as_the_official_code_and_timm_do(size, offset, reference):
    z = dinov2()
    weights = resizing_weights((14, 14), (size // 16,) * 2, offset)
    found = resized_positions(torch.from_numpy(z["pos_embed"]), weights, prefix=1)
    np.testing.assert_allclose(found, z[f"pos_{size}_offset{reference}"], atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"reg_tokens": 2, "no_embed_class": True}])
@pytest.mark.parametrize("size", [(16, 16), (64, 32)])
def test_tokens_at_other_sizes_are_timms(arguments, size):
    vit = Vit(Architecture(TINY.arch, 32, {**TINY.arguments, **arguments}), student=False, masked=False).eval()
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():  # first, as a monitor may
        expected = vit.network.forward_features(images)
        torch.testing.assert_close(vit(images).cls, expected[:, 0])
    vit(images).patches.sum().backward()
    assert vit.network.pos_embed.grad.isfinite().all()


def test_positions_are_resized_in_float32_under_autocast():
    vit = Vit(TINY, student=False, masked=False).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        x = vit._with_positions(torch.zeros(1, 3, 3, vit.dim))
    with torch.no_grad():
        torch.testing.assert_close(x, vit._with_positions(torch.zeros(1, 3, 3, vit.dim)))


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        (Architecture("vit_small"), "Expected arch to be a ViT of timm"),
        (Architecture("vit_small_patch16_224.dino"), "pretrained weights are named by start"),
        (Architecture("resnet18"), "timm cannot build resnet18"),
        (Architecture("vit_tiny_patch16_224", size=30), "multiple of the patch of 16 px, but got 30"),
        (Architecture("vit_tiny_patch16_224", arguments={"nonsense": 1}), "timm cannot build vit_tiny_patch16_224"),
        (Architecture("vit_betwixt_patch16_rope_reg4_gap_256"), "class token"),
        (Architecture("vit_base_patch16_siglip_224", arguments={"depth": 1}), "class token"),
    ],
)
def test_what_cannot_be_a_student(architecture, said):
    with pytest.raises(UsageError, match=said):
        Vit(architecture, student=True, masked=False)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_drop_path_that_makes_no_sense(rate):
    with pytest.raises(UsageError, match=f"^Expected drop_path of at least 0 and below 1, but got {rate}"):
        Architecture("vit_tiny_patch16_224", drop_path=rate)


@pytest.mark.parametrize("name", ["drop_path_rate", "pos_drop_rate", "patch_drop_rate"])
def test_rates_of_timm_that_would_have_no_effect_are_refused(name):
    with pytest.raises(UsageError, match=f"drop_path, as timm's rates have no effect, but got .'{name}'"):
        Architecture("vit_tiny_patch16_224", arguments={"depth": 1, name: 0.1})


def test_every_block_is_compiled_whatever_its_rate_of_drop_path(monkeypatch: pytest.MonkeyPatch):
    import torch._dynamo as dynamo

    whole = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **given: whole(self, backend="eager", **given)
    )  # graphs are what counts
    dynamo.reset()
    dynamo.utils.counters.clear()
    small = {"depth": 10, "embed_dim": 12, "num_heads": 1}
    vit = Vit(Architecture("vit_tiny_patch16_224", 32, small, drop_path=0.1, compile=True), True, True).train()
    with torch.no_grad():
        vit(torch.randn(2, 3, 32, 32))
    frames = dynamo.utils.counters["frames"]
    dynamo.reset()
    assert frames["ok"] == frames["total"] == 1


@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize("checkpointing", [False, 0.5, True])
def test_crops_of_two_sizes_in_one_pass_have_the_tokens_and_gradients_of_two(subset, checkpointing):
    options = {"drop_path": 0.5, "drop_path_subset": subset, "checkpointing": checkpointing}
    vit = Vit(Architecture(TINY.arch, 32, {"depth": 2, "embed_dim": 12, "num_heads": 1}, **options), True, True)
    large, small = torch.randn(4, 3, 32, 32), torch.randn(6, 3, 16, 16)
    masks = torch.arange(4) < 2
    torch.manual_seed(0)
    together = vit(large, masks.expand(4, -1), small)
    torch.manual_seed(0)
    apart = vit(large, masks.expand(4, -1)), vit(small)
    gradients = []
    for pair in (together, apart):
        for ours, theirs in zip(pair, apart, strict=True):
            torch.testing.assert_close(ours.patches, theirs.patches)
        vit.zero_grad()
        torch.stack([tokens.cls.square().sum() for tokens in pair]).sum().backward()
        gradients.append(vit.network.blocks[1].mlp.fc1.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("share", "blocks"), [(True, [0, 1, 2, 3]), (0.5, [1, 3]), (0.25, [3]), (False, [])])
def test_a_share_of_the_blocks_is_calculated_again(share, blocks):
    vit = Vit(
        Architecture(TINY.arch, 32, {"depth": 4, "embed_dim": 12, "num_heads": 1}, checkpointing=share), True, True
    )
    assert [i for i, again in enumerate(vit._checkpointed) if again] == blocks
