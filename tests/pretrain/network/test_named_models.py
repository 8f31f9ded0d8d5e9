"""Models by name: registered ones, folders, networks of timm."""

import pytest
import timm

from eva_core import registry
from eva_core.contracts.cards import ModelCard, card
from eva_core.errors import UsageError
from eva_pretrain.network import named_models
from eva_vision.models.timm import timm_model

CARD = ModelCard("tiny_fm", dim=24, licence="CC-BY-NC-ND-4.0", gated=True, source="https://example.org/tiny_fm")


@card(CARD)
def tiny_fm():
    """ViT of one block."""
    return timm_model("vit_tiny_patch16_224", size=32, depth=1, embed_dim=24, num_heads=2)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry.models, "_registered", {})
    registry.models.register("tiny_fm")(tiny_fm)


def test_a_registered_model_has_its_card_and_arguments():
    assert named_models.card_of("tiny_fm") == CARD
    assert named_models.named_backbone("tiny_fm").card.gated
    other = named_models.named_backbone("timm_model", arch="vit_tiny_patch16_224", depth=1, embed_dim=12, num_heads=2)
    assert other.card.dim == 12
    assert named_models.card_of("timm_model") is named_models.card_of("vit_small_patch16_224.dino") is None


def test_arguments_that_a_model_does_not_take_are_refused():
    for name in ("tiny_fm", "vit_small_patch16_224.dino", "hf-hub:owner/name"):
        with pytest.raises(UsageError, match=f"Expected arguments that {name} takes, but .*'colour'"):
            named_models.named_backbone(name, colour=1)


def test_a_network_of_timm_is_built_with_its_weights(monkeypatch: pytest.MonkeyPatch):
    create, asked = timm.create_model, []

    def made(arch, pretrained, **arguments):
        asked.append((arch, pretrained))
        return create("vit_tiny_patch16_224", depth=1, **arguments)

    monkeypatch.setattr(timm, "create_model", made)
    named_models.named_backbone("vit_small_patch16_dinov3.lvd1689m")
    assert asked == [("vit_small_patch16_dinov3.lvd1689m", True)]


def test_a_repository_is_an_export_or_a_network_of_timm_and_a_broken_export_says_so(monkeypatch: pytest.MonkeyPatch):
    def absent(*_):
        raise UsageError("no card")

    def broken(*_):
        raise UsageError("Expected schema 1")

    monkeypatch.setattr(named_models, "build", lambda name, pretrained: (name, pretrained))
    monkeypatch.setattr(named_models, "fetch_export", absent)
    assert named_models.named_backbone("hf-hub:owner/name") == ("hf-hub:owner/name", True)
    monkeypatch.setattr(named_models, "fetch_export", lambda *_: None)
    monkeypatch.setattr(registry, "build_model", broken)
    with pytest.raises(UsageError, match="Expected schema 1"):
        named_models.named_backbone("hf-hub:owner/name")


@pytest.mark.parametrize(("name", "hint"), [("tiny_fn", "Did you mean tiny_fm"), ("zzzz", "`eva models` lists")])
def test_an_unknown_name_gets_a_suggestion(name, hint):
    with pytest.raises(UsageError, match=f"(?s)Expected a name of `eva models`.*{name}.*{hint}"):
        named_models.named_backbone(name)
