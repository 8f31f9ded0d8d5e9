"""Heads on tokens, held against torch's own attention under the names of published files."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eva_vision.models.state_dict_keys import from_conch, from_conch_v1_5, from_keep
from eva_vision.models.token_heads import AttentionPooling, Projection
from tests.vision.models.towers import conch_state, conch_v1_5_state, keep_state

WIDTH, DIM = 48, 64
TOKENS = torch.randn(3, 10, WIDTH, generator=torch.Generator().manual_seed(0))


def with_weights(head: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """A head with its part of a converted file."""
    head.load_state_dict(
        {name.removeprefix("token_head."): t for name, t in state.items() if name.startswith("token_head.")}
    )
    return head


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


@torch.inference_mode()
def test_the_pooling_of_conch_is_torch_s_attention():
    state = conch_state(WIDTH, 96, DIM)
    pooling = with_weights(AttentionPooling(WIDTH, DIM, bias=True), from_conch(state))
    attention = nn.MultiheadAttention(DIM, 8, kdim=WIDTH, vdim=WIDTH, batch_first=True)
    at = "visual.attn_pool_contrast"
    attention.load_state_dict(
        {k.removeprefix(f"{at}.attn."): v for k, v in state.items() if k.startswith(f"{at}.attn.")}
    )
    tokens, query = norm(TOKENS, state, f"{at}.ln_k"), norm(state[f"{at}.query"], state, f"{at}.ln_q")
    pooled = attention(query.expand(3, 1, -1), tokens, tokens)[0][:, 0]
    torch.testing.assert_close(pooling(TOKENS), norm(pooled, state, "visual.ln_contrast"), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_pooling_of_conch_v1_5_by_hand():
    state = conch_v1_5_state(WIDTH, 96, DIM)
    pooling = with_weights(AttentionPooling(WIDTH, DIM, bias=False), from_conch_v1_5(state))
    at = "attn_pool_contrast"
    keys, values = (norm(TOKENS, state, f"{at}.ln_k") @ state[f"{at}.to_kv.weight"].T).chunk(2, -1)
    query = (norm(state[f"{at}.query"], state, f"{at}.ln_q") @ state[f"{at}.to_q.weight"].T)[0]
    size = DIM // 8
    parts = []
    for i in range(0, DIM, size):
        weights = (keys[:, :, i : i + size] @ query[i : i + size] / size**0.5).softmax(1)  # (B, N)
        parts.append((weights[:, :, None] * values[:, :, i : i + size]).sum(1))
    pooled = torch.cat(parts, 1) @ state[f"{at}.to_out.weight"].T
    torch.testing.assert_close(pooling(TOKENS), norm(pooled, state, "ln_contrast"), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_projection_of_keep_reads_the_class_token_alone():
    state = keep_state(WIDTH, 96, DIM)
    projection = with_weights(Projection(WIDTH, DIM), from_keep(state))
    x = F.gelu(F.linear(TOKENS[:, 0], state["visual_head.0.weight"], state["visual_head.0.bias"]))
    x = F.linear(x, state["visual_head.2.weight"], state["visual_head.2.bias"])
    torch.testing.assert_close(projection(TOKENS), x / x.norm(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("convert", "state", "lost", "kept"),
    [
        (from_conch, conch_state, "visual.attn_pool_contrast.attn.k_proj_weight", "token_head.k.weight"),
        (from_conch_v1_5, conch_v1_5_state, "attn_pool_contrast.to_kv.weight", "token_head.v.weight"),
        (from_keep, keep_state, "visual_head.2.bias", "token_head.2.bias"),
    ],
)
def test_a_file_that_lacks_a_weight_lacks_it_under_our_name(convert: Any, state: Any, lost: str, kept: str):
    stored = state(WIDTH, 96)
    assert kept in convert(stored)
    del stored[lost]
    assert kept not in convert(stored)
