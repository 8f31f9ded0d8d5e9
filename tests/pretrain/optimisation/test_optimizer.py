from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.testing import assert_close

from eva_core.errors import EvaError
from eva_pretrain.network.projection_head import Head
from eva_pretrain.optimisation.optimizer import clip, make_states, parameter_groups, set_hyperparameters, update_teacher

PARITY = Path(__file__).parents[1] / "parity"
DINO, DINOV2 = np.load(PARITY / "dino_parity.npz"), np.load(PARITY / "dinov2_parity.npz")


class Wrapped(nn.Module):
    """A timm ViT under a prefix, and a mask token beside it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.network = timm.create_model("vit_tiny_patch16_224", num_classes=0, embed_dim=12, **arguments)
        self.mask_token = nn.Parameter(torch.zeros(1, 12))


def found(module: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float, bool]]:
    """Scales by parameter name; each parameter is in one group."""
    where = {id(p): (g["lr_scale"], g["wd_scale"], g["last_layer"]) for g in groups for p in g["params"]}
    assert len(where) == sum(len(group["params"]) for group in groups)
    return {name: where[id(parameter)] for name, parameter in module.named_parameters()}


def dinov2_name(name: str) -> str:
    return name.removeprefix("network.").replace("reg_token", "register_tokens")


def test_groups_equal_dinov2() -> None:
    vit, heads = Wrapped(reg_tokens=4, init_values=1e-5), nn.ModuleDict({"dino": Head(12, 8, 8, 4, gain=True)})
    groups = parameter_groups(vit, heads, layer_decay=0.9, patch_embed=0.2)
    ours = {dinov2_name(name): scales for name, scales in found(vit, groups).items()}
    assert set(ours) == set(DINOV2["pg_names"].tolist())
    for name, lr, wd in zip(DINOV2["pg_names"], DINOV2["pg_lr_mult"], DINOV2["pg_wd_mult"], strict=True):
        assert ours[str(name)] == (pytest.approx(lr, rel=1e-12), wd, False), name
    # the same in four chunks, where the names have the chunk before the block
    chunked = (DINOV2[f"pg_chunk4_{key}"] for key in ("names", "lr_mult", "wd_mult"))
    for name, lr, wd in zip(*chunked, strict=True):
        parts = str(name).split(".")
        plain = ".".join(parts[:1] + parts[2:]) if parts[0] == "blocks" else str(name)
        assert ours[plain] == (pytest.approx(lr, rel=1e-12), wd, False), name

    head = found(heads["dino"], groups)
    keys = [f"pg_head_{key}" for key in ("names", "lr_mult", "wd_mult", "is_last")]
    for name, lr, wd, last in zip(*(DINOV2[key] for key in keys), strict=True):
        name = str(name).replace("weight_g", "gain").replace("weight_v", "direction")
        assert head[name] == (lr, wd, last), name


def test_groups_equal_dino() -> None:
    vit, heads = Wrapped(), Head(12, 8, 8, 4, gain=False)
    groups = parameter_groups(vit, heads, decay_rule="dino")
    ours = {name.removeprefix("network."): scales for name, scales in found(vit, groups).items()}
    assert set(DINO["pg_names"].tolist()) == set(ours) - {"mask_token"}
    for name, decays in zip(DINO["pg_names"], DINO["pg_regularised"], strict=True):
        assert ours[str(name)] == (1.0, float(decays), False), name
    assert len(groups) == 3
    assert len({group["name"] for group in groups}) == 3


def test_norms_before_the_blocks_and_after_them() -> None:
    vit = Wrapped(depth=2, pre_norm=True)
    scales = found(vit, parameter_groups(vit, nn.Identity(), layer_decay=0.5))
    assert scales["network.norm_pre.weight"] == (0.125, 0.0, False)
    assert scales["network.blocks.1.norm1.weight"] == (0.5, 0.0, False)
    assert scales["network.norm.weight"] == (1.0, 0.0, False)


def test_set_hyperparameters() -> None:
    vit, heads = Wrapped(depth=1), Head(12, 8, 8, 4, gain=True)
    groups = parameter_groups(vit, heads, layer_decay=0.5)
    optimizer = torch.optim.AdamW(groups)
    set_hyperparameters(optimizer, lr=0.1, weight_decay=0.3, last_layer_lr=0.0)
    for group in optimizer.param_groups:
        assert group["lr"] == (0.0 if group["last_layer"] else 0.1 * group["lr_scale"])
        assert group["weight_decay"] == 0.3 * group["wd_scale"]
    names = [group["name"] for group in optimizer.param_groups]
    assert len(names) == len(set(names))
    assert any(group["last_layer"] for group in optimizer.param_groups)


@pytest.mark.parametrize("fused", [True, False])
def test_states_that_are_made_are_those_of_a_first_step(fused: bool) -> None:
    torch.manual_seed(0)
    made, lazy = nn.Linear(3, 2), nn.Linear(3, 2)
    lazy.load_state_dict(made.state_dict())
    optimizers = []
    for module in (made, lazy):
        groups = [{"params": [*module.parameters()], "lr_scale": 1.0, "wd_scale": 1.0, "last_layer": False}]
        optimizers.append(torch.optim.AdamW(groups, fused=fused))
    make_states(optimizers[0])
    assert torch.equal(made.weight, lazy.weight)
    assert made.weight.grad is None
    assert len(optimizers[0].state) == 2
    for module, optimizer in zip((made, lazy), optimizers, strict=True):
        set_hyperparameters(optimizer, lr=0.1, weight_decay=0.2, last_layer_lr=0.0)
        for x in (torch.ones(3), torch.arange(3.0)):
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    assert torch.equal(made.weight, lazy.weight)
    assert_close(optimizers[0].state_dict()["state"], optimizers[1].state_dict()["state"], rtol=0, atol=0)


def with_grads(*grads: torch.Tensor) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.clone()
    return parameters


def test_clipping_by_tensor_equals_dino() -> None:
    grads = [torch.from_numpy(DINO[f"clip_in_{i}"]) for i in range(4)]
    parameters = with_grads(*grads)
    largest = clip(([parameter] for parameter in parameters), 3.0)
    assert_close(largest, torch.stack([grad.norm() for grad in grads]).max())
    for i, parameter in enumerate(parameters):
        assert_close(parameter.grad, torch.from_numpy(DINO[f"clip_out_{i}"]), atol=1e-5, rtol=0)


def test_clipping_by_module_equals_torch() -> None:
    rng = torch.Generator().manual_seed(0)
    grads = [torch.randn(shape, generator=rng) * size for shape, size in [((4, 5), 1), (3, 9), ((2, 2), 0.01)]]
    ours, theirs = with_grads(*grads), with_grads(*grads)
    without = nn.Parameter(torch.zeros(2))
    largest = clip([[ours[0], without, ours[1]], [], [without], [ours[2]]], 3.0)
    norms = [nn.utils.clip_grad_norm_(theirs[:2], 3.0), nn.utils.clip_grad_norm_(theirs[2:], 3.0)]
    assert_close(largest, torch.stack(norms).max())
    assert without.grad is None
    for mine, reference in zip(ours, theirs, strict=True):
        assert_close(mine.grad, reference.grad)
    assert torch.equal(ours[2].grad, grads[2])  # short enough: not touched


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_norm_tells_of_gradients_that_are_not_finite(bad: float) -> None:
    good, broken = with_grads(torch.ones(3), torch.tensor([1.0, bad]))
    assert not clip([[good], [broken]], 3.0).isfinite()
    assert clip([[good]], 3.0).isfinite()
    assert clip([[nn.Parameter(torch.ones(1))]], 3.0).item() == 0


def test_the_teacher_moves_towards_the_student() -> None:
    torch.manual_seed(0)
    teacher, student = Wrapped(depth=1), Wrapped(depth=1)
    student.mask_token.data.fill_(1)
    before = {name: parameter.detach().clone() for name, parameter in teacher.named_parameters()}
    theirs = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    update_teacher(teacher, student, 0.75)
    for name, parameter in teacher.named_parameters():
        assert_close(parameter.detach(), 0.75 * before[name] + 0.25 * theirs[name])
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in student.named_parameters())
    update_teacher(teacher, student, 0.0)
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in teacher.named_parameters())
    moved = {name: parameter.detach().clone() for name, parameter in teacher.named_parameters()}
    student.network.cls_token.data += 1
    update_teacher(teacher, student, 1.0)
    assert all(torch.equal(parameter, moved[name]) for name, parameter in teacher.named_parameters())


def test_the_teacher_need_not_have_all_but_not_more_than_the_student() -> None:
    teacher, student = (
        nn.ModuleDict({"a": nn.Linear(2, 2)}),
        nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}),
    )
    update_teacher(teacher, student, 0.0)
    assert torch.equal(teacher["a"].weight, student["a"].weight)
    with pytest.raises(KeyError, match=r"b\.weight"):
        update_teacher(student, teacher, 0.0)


def test_a_teacher_in_half_precision_is_an_error() -> None:
    teacher = nn.Linear(2, 2).bfloat16()
    with pytest.raises(EvaError, match="Expected the teacher in float32, but weight is"):
        update_teacher(teacher, teacher, 0.9)


def test_biases_and_frequencies_of_rotary_networks_do_not_decay():
    vit = nn.Module()
    vit.network = timm.create_model(
        "vit_small_patch16_rope_mixed_224", num_classes=0, depth=1, embed_dim=12, num_heads=1, qkv_fused=False
    )
    groups = parameter_groups(vit, nn.ModuleDict(), layer_decay=0.5, decay_rule="dinov2")
    of = {id(p): group for group in groups for p in group["params"]}
    rope, bias = of[id(vit.network.rope.freqs)], of[id(vit.network.blocks[0].attn.q_proj.bias)]
    assert (rope["wd_scale"], bias["wd_scale"]) == (0.0, 0.0)
    assert rope["lr_scale"] == of[id(vit.network.cls_token)]["lr_scale"] == 0.25
    dinov3 = nn.Module()
    dinov3.network = timm.create_model("eva02_tiny_patch14_224", num_classes=0, depth=1, embed_dim=12, num_heads=1)
    for rule in ("dino", "dinov2"):
        of = {id(p): g for g in parameter_groups(dinov3, nn.ModuleDict(), decay_rule=rule) for p in g["params"]}
        biases = [of[id(p)]["wd_scale"] for name, p in dinov3.named_parameters() if name.endswith("bias")]
        assert biases == [0.0] * len(biases)
        assert biases
