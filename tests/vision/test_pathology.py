"""Every pathology foundation model: architectures against published facts, weights from stand-ins of their files."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from eva_core import registry
from eva_core.errors import EvaError
from eva_core.types import Backbone, ModelCard
from eva_vision.models import keys, releases
from eva_vision.models import timm as timm_models
from tests.vision.conftest import Hub
from tests.vision.published import (
    as_training_checkpoint,
    dinov2_forward,
    dinov2_state,
    hf_forward,
    hf_state,
)

ROADS = ("pathology", "huggingface", "releases")
ENTRIES = {
    e.name: e
    for e in registry.models.entries()
    if e.target.startswith("eva_vision.models.") and e.target.split(":")[0].endswith(ROADS)
}
FACTS: dict[str, tuple[int, int, int, float | None, int | None]] = {
    # width, prefix tokens, patch, million parameters, tensors: from PROTOCOLS.md section 4, but the tensors as in
    # the manifest of the Spectra adapters (there under the publisher's names: q, k, v apart and a mask token for two)
    "kaiko_vits16": (384, 1, 16, None, None),
    "kaiko_vits8": (384, 1, 8, None, None),
    "kaiko_vitb16": (768, 1, 16, None, None),
    "kaiko_vitb8": (768, 1, 8, None, None),
    "kaiko_vitl14": (1024, 5, 14, None, None),
    "lunit_vits16": (384, 1, 16, None, None),
    "lunit_vits8": (384, 1, 8, None, None),
    "gpfm": (1024, 1, 14, None, None),
    "openmidnight": (1536, 5, 14, None, 567),
    "midnight_12k": (1536, 1, 14, None, 727 - 40 * 4 - 1),
    "phikon": (768, 1, 16, None, None),
    "phikon_v2": (1024, 1, 16, None, 439 - 24 * 4 - 1),
    "hibou_b": (768, 5, 14, 85.7, None),
    "hibou_l": (1024, 5, 14, None, None),
    "uni": (1024, 1, 16, None, None),
    "uni2_h": (1536, 9, 14, 681.4, 343),
    "h_optimus_0": (1536, 5, 14, 1134.8, 567),
    "h_optimus_1": (1536, 5, 14, 1134.8, 567),
    "h0_mini": (768, 5, 14, 85.7, None),
    "prov_gigapath": (1536, 1, 16, 1135.0, None),
    "virchow": (1280, 1, 14, 631.2, 454),
    "virchow2": (1280, 5, 14, 631.2, 455),
}
SHAPES = {
    "kaiko_vitl14": {"pos_embed": (1, 37**2, 1024), "reg_token": (1, 4, 1024), "blocks.23.ls2.gamma": (1024,)},
    "gpfm": {"pos_embed": (1, 1 + 16**2, 1024), "blocks.23.mlp.fc1.weight": (4096, 1024)},
    "midnight_12k": {"pos_embed": (1, 1 + 16**2, 1536), "blocks.39.mlp.fc1.weight": (8192, 1536)},
    "hibou_b": {"blocks.11.mlp.fc1.weight": (4096, 768), "blocks.11.mlp.fc2.weight": (768, 2048)},
    "hibou_l": {"blocks.23.mlp.fc1.weight": (5472, 1024), "blocks.23.mlp.fc2.weight": (1024, 2736)},
    "uni": {"pos_embed": (1, 1 + 14**2, 1024), "blocks.0.ls1.gamma": (1024,)},
    "uni2_h": {"pos_embed": (1, 16**2, 1536), "reg_token": (1, 8, 1536), "blocks.23.mlp.fc2.weight": (1536, 4096)},
    "h_optimus_0": {"pos_embed": (1, 16**2, 1536), "blocks.39.mlp.fc2.weight": (1536, 4096)},
    "prov_gigapath": {"patch_embed.proj.weight": (1536, 3, 16, 16), "pos_embed": (1, 1 + 14**2, 1536)},
    "virchow2": {"pos_embed": (1, 1 + 4 + 16**2, 1280), "blocks.31.mlp.fc2.weight": (1280, 3416)},
}


def card_of(name: str) -> ModelCard:
    return registry.models.load(name).card


@cache
def on_meta(name: str) -> tuple[Backbone, str]:
    """A model without memory for its weights, and the checkpoint that it asked for."""
    asked: list[str] = []
    linspace = torch.linspace  # of which older timm wants values
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "linspace", lambda *a, **k: linspace(*a, **{**k, "device": "cpu"}))
        patch.setattr(timm_models, "load_weights", lambda network, checkpoint, *_: asked.append(checkpoint) or {})
        backbone = registry.build_model(name)
    (checkpoint,) = asked
    return backbone, checkpoint


def test_all_that_are_wanted_are_registered():
    assert ENTRIES.keys() == FACTS.keys()


@pytest.mark.parametrize("name", FACTS)
def test_the_architecture_is_the_published_one(name: str):
    width, prefix, patch, millions, tensors = FACTS[name]
    backbone, _ = on_meta(name)
    state = backbone.network.state_dict()
    card = card_of(name)
    assert (backbone.network.num_features, backbone.network.num_prefix_tokens) == (width, prefix)
    assert backbone.network.patch_embed.patch_size == (patch, patch)
    assert (card.dim, card.prefix_tokens, card.patch_size) == (
        width * (1 + (card.pooling == "cls_mean")),
        prefix,
        patch,
    )
    assert backbone.pooling == card.pooling
    if millions is not None:
        assert sum(value.numel() for value in state.values()) / 1e6 == pytest.approx(millions, abs=0.1)
    if tensors is not None:
        assert len(state) == tensors
    for key, shape in SHAPES.get(name, {}).items():
        assert tuple(state[key].shape) == shape, key


@pytest.mark.parametrize("name", FACTS)
def test_the_revision_on_the_card_is_the_one_that_is_loaded(name: str):
    _, checkpoint = on_meta(name)
    card = card_of(name)
    if checkpoint.startswith("hf-hub:"):
        repo = card.source.removeprefix("https://huggingface.co/")
        assert checkpoint.startswith(f"hf-hub:{repo}@{card.revision}")
        assert len(card.revision) == 40
    else:
        assert checkpoint.startswith(f"{card.source}/releases/download/{card.revision}/")
        assert not card.gated


# Key names of other libraries.

IMAGES = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def tokens(arch: str, path: Path, convert: Any, **arguments: Any) -> Tensor:
    """What the timm network makes of the images with a published file in it."""
    backbone = timm_models.converted(
        arch, str(path), convert, size=224, **{"embed_dim": 32, "num_heads": 2, "depth": 3, **arguments}
    )
    return backbone.eval().network.forward_features(IMAGES)  # type: ignore[operator, union-attr]


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
    found = tokens(arch, tmp_path / "model.safetensors", keys.from_transformers, **arguments)
    torch.testing.assert_close(found, hf_forward(state, IMAGES, heads=2), atol=1e-4, rtol=0)


def test_positions_of_a_larger_image_are_resampled_as_transformers_does(tmp_path: Path):
    state = hf_state(32, 14, 64, "swiglu", depth=3, grid=37)
    save_file(state, tmp_path / "model.safetensors")
    found = tokens("vit_giant_patch14_dinov2", tmp_path / "model.safetensors", keys.from_transformers, mlp_ratio=4.0)
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
    found = tokens(arch, tmp_path / "model.pth", keys.from_dinov2, **arguments)
    torch.testing.assert_close(found, dinov2_forward(state, IMAGES, heads=2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("lost", ["attention.attention.key.weight", "mlp.weights_in.bias"])
def test_a_key_that_a_published_file_lacks_is_named(lost: str, tmp_path: Path):
    state = hf_state(32, 14, 64, "swiglu", depth=3)
    del state[f"encoder.layer.1.{lost}"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(EvaError, match=r"missing blocks\.1\.(attn\.qkv\.weight|mlp\.fc1\.bias)"):
        tokens("vit_giant_patch14_dinov2", tmp_path / "model.safetensors", keys.from_transformers, mlp_ratio=4.0)


# Every name with a stand-in of its file, over a hub or a release of this test's own.

WIDTH = 48  # at which every ratio of the hidden layers gives an even number


def stand_in(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A tiny file of a model, as published, and what the tiny network is to hold after it is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm_models, "load_weights", lambda *_: {})
        network = registry.build_model(name).network
    drawn = {key: torch.randn_like(value) for key, value in network.state_dict().items()}
    _, prefix, patch_size, _, _ = FACTS[name]
    hidden = drawn["blocks.0.mlp.fc2.weight"].shape[1]
    swiglu = drawn["blocks.0.mlp.fc1.weight"].shape[0] == 2 * hidden
    if ENTRIES[name].target.startswith("eva_vision.models.huggingface"):
        mlp = "vit" if name == "phikon" else "swiglu" if swiglu else "mlp"
        published = hf_state(WIDTH, patch_size, hidden, mlp, prefix - 1, grid=224 // patch_size)
        return published, keys.from_transformers(dict(published))
    if name in ("kaiko_vitl14", "gpfm", "openmidnight"):
        published = dinov2_state(
            WIDTH, patch_size, hidden, swiglu, prefix - 1, grid=37 if name == "kaiko_vitl14" else 16
        )
        return published, keys.from_dinov2(dict(published))
    return {**drawn, "head.weight": torch.ones(2, WIDTH), "head.bias": torch.ones(2)}, drawn


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch):
    """All networks narrow and one block deep; what makes an architecture its own stays."""
    create, small = timm.create_model, {"embed_dim": WIDTH, "num_heads": 3, "depth": 1}
    monkeypatch.setattr(timm, "create_model", lambda arch, **k: create(arch, **{**k, **small}))


def file_bytes(name: str, published: dict[str, Tensor], path: Path) -> bytes:
    if ENTRIES[name].target.startswith(("eva_vision.models.pathology", "eva_vision.models.huggingface")):
        return save(published)
    torch.save({"teacher": as_training_checkpoint(published, 1)} if name == "gpfm" else published, path)
    return path.read_bytes()


@pytest.mark.parametrize("name", FACTS)
def test_weights_come_from_where_the_card_says(
    name: str, tiny: None, hub: Hub, offline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    published, expected = stand_in(name)
    body = file_bytes(name, published, tmp_path / "file.pth")
    card = card_of(name)
    if "huggingface.co" in card.source:
        file = "teacher_checkpoint_load.pt" if name == "openmidnight" else "model.safetensors"
        hub.files[f"{card.source.removeprefix('https://huggingface.co/')}/{file}"] = body
    else:
        here = f"http://127.0.0.1:{hub.server_port}/owner/release/releases/download"
        monkeypatch.setattr(releases, "KAIKO", f"{here}/1")
        monkeypatch.setattr(releases, "LUNIT", f"{here}/1")
        monkeypatch.setattr(releases, "GPFM", f"{here}/1/GPFM.pth#md5={hashlib.md5(body).hexdigest()}")
        file = {"gpfm": "GPFM.pth", "lunit_vits16": "dino_vit_small_patch16_ep200.torch"}.get(name)
        file = file or (
            "dino_vit_small_patch8_ep200.torch" if name == "lunit_vits8" else f"{name.removeprefix('kaiko_')}.pth"
        )
        hub.files[f"owner/release/1/{file}"] = body
    for _ in range(2):  # the second time from the cache alone
        backbone = registry.build_model(name)
        state = backbone.network.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], value) for key, value in expected.items())
        assert backbone.name == name
        assert backbone.card == card
        assert backbone.provenance["file_sha256"] == hashlib.sha256(body).hexdigest()
        if "huggingface.co" in card.source:
            assert backbone.provenance["revision"] == card.revision
        offline()


@pytest.mark.parametrize("name", [name for name in FACTS if card_of(name).gated])
def test_a_gated_model_without_a_token_says_where_to_ask(name: str, tiny: None, hub: Hub):
    page = card_of(name).source
    hub.gated.add(page.removeprefix("https://huggingface.co/"))
    with pytest.raises(EvaError, match=page) as caught:
        registry.build_model(name)
    assert "\n" not in str(caught.value)
    assert "HF_TOKEN" in str(caught.value)


@pytest.mark.parametrize("name", FACTS)
def test_offline_says_in_one_line_what_is_missing(name: str, tiny: None, offline: Any):
    offline()
    card = card_of(name)
    with pytest.raises(EvaError) as caught:
        registry.build_model(name)
    assert "\n" not in str(caught.value)
    assert card.source.removeprefix("https://huggingface.co/") in str(caught.value)


# The page that lists them.

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def table() -> str:
    """The table of docs/models.md, from the cards."""
    head = (
        "name",
        "size of embedding",
        "patch",
        "prefix tokens",
        "mean / std",
        "µm/px",
        "licence",
        "gated",
        "trained on",
    )
    rows = [head, ("---",) * len(head)]
    for name in FACTS:
        card = card_of(name)
        cls_mean = (
            f"{card.dim} ({card.dim // 2} class token, then mean)" if card.pooling == "cls_mean" else str(card.dim)
        )  # type: ignore[operator]
        colours = "ImageNet" if card.mean == (0.485, 0.456, 0.406) else f"{_numbers(card.mean)} / {_numbers(card.std)}"
        rows.append(
            (
                f"[`{name}`]({card.source})",
                cls_mean,
                str(card.patch_size),
                str(card.prefix_tokens),
                "0.5 / 0.5" if set(card.mean + card.std) == {0.5} else colours,
                _numbers(card.mpp) or "?",
                card.licence,
                "yes" if card.gated else "no",
                card.trained_on,
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{round(value, 4):g}" for value in values)


def test_the_page_of_models_says_what_the_cards_say():
    assert table() in PAGE.read_text(encoding="utf-8"), f"docs/models.md wants this table:\n{table()}"
