import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from eva_pretrain.losses.teacher_targets import Centring, sinkhorn

Arrays = dict[str, Tensor]


@pytest.mark.parametrize("temperature", [0.04, 0.07])
def test_centring_equals_dinov2_in_two_steps(dinov2: Arrays, temperature: float) -> None:
    name = f"dino_center_T{100 * temperature:02.0f}"
    centring = Centring(64)
    first, second = dinov2["dino_teacher_logits_1"], dinov2["dino_teacher_logits_2"]
    assert_close(centring(first, temperature), dinov2[f"{name}_probs_1"], atol=1e-5, rtol=0)
    centring.update(first)
    assert_close(centring.centre, dinov2[f"{name}_center_1"], atol=1e-5, rtol=0)
    assert_close(centring(second, temperature), dinov2[f"{name}_probs_2"], atol=1e-5, rtol=0)


def test_centring_of_patches_equals_ibot(dinov2: Arrays) -> None:
    centring, logits = Centring(48), dinov2["ibot_teacher_logits"]
    assert_close(centring(logits, 0.07), dinov2["ibot_center_T07_probs_1"], atol=1e-5, rtol=0)
    centring.update(logits)
    assert_close(centring.centre, dinov2["ibot_center_after"][0], atol=1e-5, rtol=0)
    assert_close(centring(logits, 0.07), dinov2["ibot_center_T07_probs_2"], atol=1e-5, rtol=0)


def test_centring_has_no_gradient_and_keeps_float32_for_bf16_logits() -> None:
    logits = torch.randn(3, 5, dtype=torch.bfloat16, requires_grad=True)
    centring = Centring(5)
    centring.update(logits)
    out = centring(logits, 0.1)
    assert (out.dtype, out.requires_grad, centring.centre.dtype) == (torch.float32, False, torch.float32)
    assert_close(centring.centre, 0.1 * logits.detach().float().mean(0, keepdim=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_centre_ignores_a_batch_that_is_not_finite(bad: float) -> None:
    centring = Centring(3)
    centring.update(torch.ones(2, 3))
    before = centring.centre.clone()
    centring.update(torch.tensor([[1.0, bad, 1.0], [1.0, 1.0, 1.0]]))
    centring.update(torch.empty(0, 3))
    assert torch.equal(centring.centre, before)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("temperature", [0.04, 0.07])
def test_sinkhorn_equals_dinov2(dinov2: Arrays, temperature: float, iterations: int) -> None:
    expected = dinov2[f"dino_sk_T{100 * temperature:02.0f}_it{iterations}"]
    out = sinkhorn(dinov2["dino_teacher_logits_1"], temperature, iterations)
    assert_close(out, expected, atol=1e-5, rtol=0)
    assert_close(out.sum(1), torch.ones(12))


def test_sinkhorn_of_patches_equals_ibot(dinov2: Arrays) -> None:
    assert_close(sinkhorn(dinov2["ibot_teacher_logits"], 0.07), dinov2["ibot_sk_T07"], atol=1e-5, rtol=0)


def in_logarithms(logits: Tensor, temperature: float, iterations: int) -> Tensor:
    """What Sinkhorn-Knopp is, in float64 and without a trick."""
    x = logits.double() / temperature
    for _ in range(iterations):
        x = x - x.logsumexp(0, keepdim=True)
        x = x - x.logsumexp(1, keepdim=True)
    return x.exp()


@pytest.mark.parametrize("size", [1.0, 1e2, 1e4, 1e7])
def test_sinkhorn_is_stable_for_large_logits(size: float) -> None:
    """Also where rows and columns lie far apart, so that one maximum for all would make most of them 0."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 11, generator=rng) * size
    logits[2] -= 10 * size
    logits[:, 3] -= 10 * size
    logits[4] += 3 * size
    out = sinkhorn(logits, 1.0)
    assert_close(out.double(), in_logarithms(logits, 1.0, 3), atol=1e-5, rtol=0)


def test_sinkhorn_spreads_what_all_rows_agree_on() -> None:
    logits = torch.zeros(8, 4)
    logits[:, 0] = 5
    logits[range(8), torch.arange(8) % 4] += 1
    out = sinkhorn(logits, 0.1, iterations=20)
    assert_close(out.sum(0), torch.full((4,), 2.0), atol=0.01, rtol=0)


def test_sinkhorn_of_no_rows_is_empty_and_of_bf16_is_float32_under_autocast() -> None:
    assert sinkhorn(torch.empty(0, 4), 0.04).shape == (0, 4)
    logits = torch.randn(6, 9).bfloat16()
    before = logits.clone()
    with torch.autocast("cpu", torch.bfloat16):
        out = sinkhorn(logits, 0.07)
    assert out.dtype == torch.float32
    assert torch.equal(logits, before)
    assert_close(out.double(), in_logarithms(logits, 0.07, 3), atol=1e-5, rtol=0)
