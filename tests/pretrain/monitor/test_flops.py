from itertools import pairwise

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eva_pretrain.augment.views import Views
from eva_pretrain.monitor.flops import peak_flops, step_flops
from eva_pretrain.network.vit import Architecture, Vit

SMALL = Views(64, 32, 2)


def network(arch: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(arch, num_classes=0, dynamic_img_size=True, **arguments).eval()


def head(dim: int, prototypes: int, bottleneck: int) -> nn.Module:
    widths = (dim, 2048, 2048, bottleneck)
    with torch.device("meta"):
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
        return nn.Sequential(*layers, nn.Linear(bottleneck, prototypes, bias=False))


# the least that a step takes, in TFLOP, as computed by hand: heads of 65,536 (short) or 131,072 prototypes (long) and
# masks are in it, and g/14 has 4 registers
@pytest.mark.parametrize(
    ("arch", "local", "prototypes", "bottleneck", "expected"),
    [
        ("vit_small_patch16_224", 96, 65_536, 256, 0.124),
        ("vit_base_patch16_224", 96, 65_536, 256, 0.446),
        ("vit_large_patch16_224", 96, 65_536, 256, 1.54),
        ("vit_large_patch14_dinov2", 98, 131_072, 384, 2.07),
        ("vit_giant_patch14_reg4_dinov2", 98, 131_072, 384, 7.86),
    ],
)
def test_the_floor_of_an_image(arch: str, local: int, prototypes: int, bottleneck: int, expected: float):
    vit = network(arch, img_size=224)
    heads = {"dino": head(vit.embed_dim, prototypes, bottleneck)}
    assert step_flops(vit, heads, Views(local_size=local), 1, 0.15) / 1e12 == pytest.approx(expected, rel=0.004)


@pytest.mark.parametrize(
    ("arch", "arguments"),
    [
        ("test_vit", {"img_size": 64}),
        ("test_vit", {"img_size": 64, "reg_tokens": 4, "depth": 3}),
        ("vit_giant_patch14_reg4_dinov2", {"img_size": 56, "depth": 2}),  # SwiGLU
    ],
)
def test_a_step_is_what_torch_counts(arch: str, arguments: dict[str, object]):
    """Student three times, teacher once, counted by running them on the meta device."""
    vit, batch, patch = network(arch, **arguments), 5, 14 if "14" in arch else 16
    heads = nn.ModuleDict({"dino": head(vit.embed_dim, 100, 32), "ibot": head(vit.embed_dim, 70, 16)})
    global_, local = (torch.empty(n * batch, 3, k * patch, k * patch, device="meta") for n, k in ((2, 4), (3, 2)))
    hidden = 2 * batch * 16 // 8
    with FlopCounterMode(display=False) as teacher:
        heads["dino"](vit(global_))
        heads["ibot"](torch.empty(hidden, vit.embed_dim, device="meta"))
    with FlopCounterMode(display=False) as student:
        heads["dino"](torch.cat([vit(global_), vit(local)]))
        heads["ibot"](torch.empty(hidden, vit.embed_dim, device="meta"))
    expected = 3 * student.get_total_flops() + teacher.get_total_flops()
    assert step_flops(vit, heads, Views(4 * patch, 2 * patch, 3), batch, 1 / 8) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("subset", [False, True])
def test_drop_path_counts_what_is_calculated(subset: bool):
    """A student with drop path, counted by running it, and a teacher."""
    arguments = {"depth": 3, "embed_dim": 24, "num_heads": 3}
    architecture = Architecture("vit_tiny_patch16_224", 32, arguments, drop_path=0.5, drop_path_subset=subset)
    with torch.device("meta"):
        vit = Vit(architecture, student=True, masked=True)
        global_, local = torch.empty(6, 3, 32, 32), torch.empty(9, 3, 32, 32)
    with FlopCounterMode(display=False) as student:
        vit(global_, None, local)
    with FlopCounterMode(display=False) as teacher:
        vit.eval()(global_)
    heads = {"dino": nn.Identity()}
    ours = step_flops(vit.network, heads, Views(32, 32, 3), 3, 0, vit.rates if vit.subset else ())
    assert ours == pytest.approx(3 * student.get_total_flops() + teacher.get_total_flops(), rel=1e-9)


def test_one_head_sees_the_hidden_patches_too():
    vit = network("test_vit", img_size=64)
    shared, apart = {"dino": head(64, 100, 32)}, {"dino": head(64, 100, 32), "ibot": head(64, 100, 32)}
    assert step_flops(vit, shared, SMALL, 4, 0.25) == step_flops(vit, apart, SMALL, 4, 0.25)
    assert step_flops(vit, shared, SMALL, 4, 0.25) > step_flops(vit, apart, SMALL, 4)


@pytest.mark.parametrize("size", [64, 128])
def test_a_gram_teacher_is_one_more_pass_over_the_global_crops_of_its_size(size: int):
    vit, heads = network("test_vit", img_size=64), {"dino": head(64, 100, 32)}
    with FlopCounterMode(display=False) as counter:
        vit(torch.empty(2 * 4, 3, size, size, device="meta"))
    more, plain = (step_flops(vit, heads, SMALL, 4, 0.25, teachers=sizes) for sizes in ((64, size), None))
    assert more - plain == counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16-mixed", 312e12),
        ("NVIDIA A100 80GB PCIe", "16-mixed", 312e12),
        ("NVIDIA H100 80GB HBM3", "bf16-true", 989e12),
        ("NVIDIA H100 PCIe", "bf16-mixed", 756e12),
        ("NVIDIA H100 NVL", "bf16-mixed", 835.5e12),
        ("NVIDIA H200", "bf16-mixed", 989e12),
        ("NVIDIA L40S", "bf16-mixed", 362e12),
        ("NVIDIA L40", "bf16-mixed", 181e12),
        ("NVIDIA L4", "bf16-mixed", 121e12),
        ("NVIDIA A10", "bf16-mixed", 125e12),
        ("NVIDIA GeForce RTX 4090", "bf16-mixed", 165.2e12),
        ("Tesla V100-SXM2-16GB", "16-mixed", 125e12),
        ("Tesla V100-SXM2-16GB", "bf16-mixed", None),  # it has no bf16
        ("Tesla T4", "32-true", 8.1e12),
        ("NVIDIA A10G", "bf16-mixed", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16-mixed", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16-mixed", None),
    ],
)
def test_the_peak_of_a_device(name: str, precision: str, expected: float | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda", 0), precision) == expected


def test_32_bits_are_those_of_tf32_where_torch_may_use_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-40GB")
    for allowed, expected in (("highest", 19.5e12), ("high", 156e12)):
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda allowed=allowed: allowed)
        assert peak_flops(torch.device("cuda"), "32-true") == expected


def test_a_cpu_has_no_known_peak():
    assert peak_flops(torch.device("cpu"), "bf16-mixed") is None
