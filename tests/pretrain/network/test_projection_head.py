from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain.network.projection_head import Head

PARITY = Path(__file__).parents[1] / "parity"


def reference(project: str, gain: bool) -> tuple[Head, dict[str, Tensor]]:
    """Our head with the weights of the reference, and all arrays of it."""
    with np.load(PARITY / f"{project}_parity.npz") as stored:
        arrays = {
            key: torch.from_numpy(stored[key])
            for key in stored.files
            if key[:5] == "head_" and "names" not in key and stored[key].dtype.kind == "f"
        }
    state = {ours(key.removeprefix("head_w/")): value for key, value in arrays.items() if key.startswith("head_w/")}
    if not gain:
        assert (state.pop("last_layer.gain") == 1).all()
    prototypes, bottleneck = state["last_layer.direction"].shape
    head = Head(24, prototypes, hidden=32, bottleneck=bottleneck, gain=gain)
    head.load_state_dict(state)
    return head, arrays


def ours(name: str) -> str:
    return name.replace("weight_g", "gain").replace("weight_v", "direction")


@pytest.mark.parametrize(("project", "gain"), [("dino", False), ("dinov2", True)])
def test_output_and_gradients_equal_the_reference(project: str, gain: bool) -> None:
    head, arrays = reference(project, gain)
    x = arrays["head_x"].requires_grad_()
    y = head(x)
    y.square().sum().backward()
    assert_close(y, arrays["head_y"], atol=1e-5, rtol=0)
    assert_close(x.grad, arrays["head_grad_x"], atol=1e-5, rtol=0)
    expected = {ours(key.removeprefix("head_grad/")): v for key, v in arrays.items() if key.startswith("head_grad/")}
    if project == "dino":
        expected = {"last_layer.direction": arrays["head_grad_v"]}
    else:
        assert len(expected) == len(list(head.parameters()))
    for name, grad in expected.items():
        assert_close(head.get_parameter(name).grad, grad, atol=1e-5, rtol=0, msg=lambda said, n=name: f"{n}: {said}")


def test_without_gain_the_same_parameters_are_trained_as_in_dino() -> None:
    with np.load(PARITY / "dino_parity.npz") as stored:
        expected = {ours(str(name)) for name in stored["head_trainable"]}
    head = Head(24, 64, hidden=32, bottleneck=12, gain=False)
    assert {name for name, parameter in head.named_parameters() if parameter.requires_grad} == expected


@pytest.mark.parametrize("gain", [True, False])
def test_it_starts_with_unit_prototypes_and_small_weights(gain: bool) -> None:
    head = Head(64, 500, hidden=256, bottleneck=32, gain=gain)
    x = torch.nn.functional.normalize(torch.randn(3, 32), dim=1)
    weight = torch.nn.functional.normalize(head.last_layer.direction, dim=1)
    assert_close(head.last_layer(x), x @ weight.T)
    for layer in (0, 2, 4):
        assert head.get_parameter(f"mlp.{layer}.weight").std().item() == pytest.approx(0.02, rel=0.1)
        assert not head.get_parameter(f"mlp.{layer}.bias").any()


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_any_number_of_layers_and_leading_dimensions(layers: int) -> None:
    head = Head(6, 9, hidden=8, bottleneck=5, layers=layers, gain=True)
    assert head(torch.randn(2, 3, 6)).shape == (2, 3, 9)
    assert head(torch.empty(0, 6)).shape == (0, 9)
    assert len([module for module in head.mlp if isinstance(module, torch.nn.Linear)]) == layers


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision(half: torch.dtype) -> None:
    """Logits are half, lengths were not: a zero embedding is no 0 / 0, a small one has the length 1."""
    head = Head(6, 9, hidden=8, bottleneck=5, layers=1, gain=False)
    x = torch.cat([torch.zeros(1, 6), 1e-3 * torch.randn(2, 6)])
    with torch.autocast("cpu", half):
        y = head(x)
    assert y.dtype == half
    assert not y[0].any()
    assert_close(y[1:].float(), head(x)[1:], atol=0.02, rtol=0)


def test_a_zero_embedding_has_a_finite_gradient() -> None:
    x = torch.zeros(2, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        Head(6, 9, hidden=8, bottleneck=5, gain=False)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_it_goes_through_safetensors(tmp_path: Path) -> None:
    head, other = Head(6, 9, hidden=8, bottleneck=5, gain=True), Head(6, 9, hidden=8, bottleneck=5, gain=True)
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    other.load_state_dict(load_file(tmp_path / "head.safetensors"))
    x = torch.randn(2, 6)
    assert torch.equal(head(x), other(x))
