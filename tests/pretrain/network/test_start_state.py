"""Weights of ViTs with other registers, class positions and sizes."""

import pytest
import timm
import torch

from eva_pretrain.network.start_state import fitted, registers_of

TINY = {"num_classes": 0, "depth": 1, "embed_dim": 24, "num_heads": 2, "img_size": 32, "dynamic_img_size": True}
PLAIN, REGISTERS, INSIDE = {}, {"reg_tokens": 4, "no_embed_class": True}, {"reg_tokens": 4}


def network(**arguments):
    with torch.random.fork_rng():
        made = timm.create_model("vit_tiny_patch16_224", **{**TINY, **arguments}).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "token" in name or "pos_embed" in name:
                parameter.normal_()
    return made


def load(state, into):
    into.load_state_dict({**into.state_dict(), **fitted(state, into)})
    return into


@pytest.mark.parametrize(
    ("before", "after"), [(REGISTERS, INSIDE), (INSIDE, REGISTERS), (PLAIN, {"no_embed_class": True})]
)
def test_class_positions_move_into_tokens_and_back_without_a_change(before, after):
    first = network(**before)
    second = load(first.state_dict(), network(**after))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(second.forward_features(images), first.forward_features(images))


@pytest.mark.parametrize("after", [REGISTERS, INSIDE])
def test_new_registers_are_the_networks_own(after):
    first, target = network(), network(**after)
    own = target.reg_token.detach().clone()
    state = fitted(first.state_dict(), target)
    assert "reg_token" not in state
    load(first.state_dict(), target)
    assert torch.equal(target.reg_token, own)
    positions = first.pos_embed[:, 1:]
    torch.testing.assert_close(target.pos_embed[:, -4:], positions)
    cls = target.cls_token + (target.pos_embed[:, :1] if after is INSIDE else 0)
    torch.testing.assert_close(cls, first.cls_token + first.pos_embed[:, :1])


def test_registers_are_kept_as_far_as_there_are_any():
    first = network(**REGISTERS)
    assert registers_of(first.state_dict()) == 4
    more = network(reg_tokens=6, no_embed_class=True)
    own = more.reg_token.detach().clone()
    state = fitted(first.state_dict(), more)
    assert torch.equal(state["reg_token"][:, :4], first.reg_token)
    assert torch.equal(state["reg_token"][:, 4:], own[:, 4:])
    assert "reg_token" not in fitted(first.state_dict(), network())


def test_positions_are_resized_with_registers_inside():
    state = fitted(network(reg_tokens=2, img_size=64).state_dict(), network(reg_tokens=4, no_embed_class=True))
    assert state["pos_embed"].shape == (1, 4, 24)


def test_a_rotary_network_takes_no_learned_positions():
    small = {k: v for k, v in TINY.items() if k != "img_size"}
    target = timm.create_model("vit_small_patch16_dinov3", global_pool="token", **small)
    first = timm.create_model("vit_small_patch16_dinov3", global_pool="token", num_reg_tokens=0, **small)
    state = fitted(first.state_dict(), target)
    assert target.load_state_dict(state, strict=False).missing_keys == ["reg_token"]
