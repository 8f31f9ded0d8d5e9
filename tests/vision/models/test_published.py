"""Every model with published weights: where they come from, with stand-ins of their files, and what its page says."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save
from torch import Tensor

from eva_core import registry
from eva_core.errors import EvaError
from eva_vision.models import published, state_dict_keys, timm_backbone
from tests.hub import COMMIT, Hub
from tests.vision.models.architectures import card_of, on_meta
from tests.vision.models.forward_passes import as_training_checkpoint, dinov2_state, hf_state
from tests.vision.models.towers import beit3_state, conch_state, conch_v1_5_state, dinov3_state, keep_state

MACHINERY = ("baselines", "exported", "timm")
REGISTERED = {
    entry.name
    for entry in registry.models.entries()
    if entry.target.startswith("eva_vision.models.") and not entry.target.split(":")[0].endswith(MACHINERY)
}
NAMES = (
    *("kaiko_vits16", "kaiko_vits8", "kaiko_vitb16", "kaiko_vitb8", "kaiko_vitl14", "lunit_vits16", "lunit_vits8"),
    *("gpfm", "openmidnight", "midnight_12k", "phikon", "phikon_v2", "hibou_b", "hibou_l", "uni", "uni2_h"),
    *("h_optimus_0", "h_optimus_1", "h0_mini", "prov_gigapath", "virchow", "virchow2"),
    *("path_orchestra", "mstar", "sp22m", "sp85m", "openpath"),
    *("conch", "conch_v1_5", "keep", "musk", "genbio_pathfm"),
    *(f"distillpath_{begin}_{teacher}" for begin in ("ks16", "is16") for teacher in ("virchow2", "hopt0", "uni2h")),
)
"""In the order of docs/models.md."""
UNPINNED = {"sp85m", "genbio_pathfm", *(name for name in NAMES if name.startswith("distillpath_"))}
"""Names for which no source of ours states a commit."""


def test_all_that_are_wanted_are_registered():
    assert set(NAMES) == REGISTERED


@pytest.mark.parametrize("name", NAMES)
def test_the_revision_on_the_card_is_the_one_that_is_loaded(name: str):
    _, checkpoint = on_meta(name)
    card = card_of(name)
    if checkpoint.startswith("hf-hub:"):
        repo = card.source.removeprefix("https://huggingface.co/")
        pinned = card.revision != "unknown"  # else the main branch, whose commit the results record
        assert checkpoint.startswith(f"hf-hub:{repo}@{card.revision}" if pinned else f"hf-hub:{repo}")
        assert len(card.revision) == 40 or name in UNPINNED
    else:
        assert checkpoint.startswith(f"{card.source}/releases/download/{card.revision}/")
        assert not card.gated


# Every name with a stand-in of its file, over a hub or a release of this test's own.

WIDTH = 48  # at which every ratio of the hidden layers gives an even number
OFFICIAL = {
    state_dict_keys.from_conch: conch_state,
    state_dict_keys.from_conch_v1_5: conch_v1_5_state,
    state_dict_keys.from_keep: keep_state,
    state_dict_keys.from_beit3: beit3_state,
    state_dict_keys.from_dinov3: dinov3_state,
}
"""Files under the names of one model, by their conversion."""


def stand_in(name: str) -> tuple[str, dict[str, Tensor], dict[str, Tensor]]:
    """The address of a file, what is in a tiny one, and what the tiny network is to hold after it is loaded."""
    asked: list[tuple[Any, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm_backbone, "load_weights", lambda *given: asked.append(given) or {})
        network = registry.build_model(name).network
    ((_, checkpoint, _, convert, _),), card = asked, card_of(name)
    drawn = {key: torch.randn_like(value) for key, value in network.state_dict().items()}
    if convert is None:
        return checkpoint, {**drawn, "head.weight": torch.ones(2, WIDTH), "head.bias": torch.ones(2)}, drawn
    hidden = drawn["blocks.0.mlp.fc2.weight"].shape[1]
    if convert in OFFICIAL:
        stored = OFFICIAL[convert](WIDTH, hidden)
        return checkpoint, stored, convert(dict(stored))
    swiglu = drawn["blocks.0.mlp.fc1.weight"].shape[0] == 2 * hidden
    shape, registers = (WIDTH, card.patch_size, hidden), card.prefix_tokens - 1
    if convert is state_dict_keys.from_transformers:
        mlp = "vit" if name == "phikon" else "swiglu" if swiglu else "mlp"
        stored = hf_state(*shape, mlp, registers, grid=224 // card.patch_size)
    else:
        stored = dinov2_state(*shape, swiglu, registers, grid=37 if name == "kaiko_vitl14" else 16)
    return checkpoint, stored, convert(dict(stored))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch):
    """All networks narrow and one block deep; what makes an architecture its own stays."""
    create, small = timm.create_model, {"embed_dim": WIDTH, "num_heads": 3, "depth": 1}
    monkeypatch.setattr(timm, "create_model", lambda arch, **k: create(arch, **{**k, **small}))


def file_bytes(name: str, stored: dict[str, Tensor], path: Path) -> bytes:
    if path.suffix == ".safetensors":
        return save({f"encoder.{key}": value for key, value in stored.items()} if name == "sp22m" else stored)
    torch.save({"teacher": as_training_checkpoint(stored, 1)} if name in ("gpfm", "openpath") else stored, path)
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_from_where_the_card_says(
    name: str, tiny: None, hub: Hub, offline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    card, (checkpoint, stored, expected) = card_of(name), stand_in(name)
    file = checkpoint.partition("#")[0].rpartition("/")[2]
    file = file if card.file else "model.safetensors"  # the usual one of a repository of the hub
    body = file_bytes(name, stored, tmp_path / file)
    if "huggingface.co" in card.source:
        hub.files[f"{card.source.removeprefix('https://huggingface.co/')}/{file}"] = body
    else:
        here = f"http://127.0.0.1:{hub.server_port}/owner/release/releases/download/1/{file}"
        here += f"#md5={hashlib.md5(body).hexdigest()}" if "#md5=" in checkpoint else ""
        monkeypatch.setattr(published, "weights_address", lambda *_: here)
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
            assert backbone.provenance["revision"] == (COMMIT if name in UNPINNED else card.revision)
        offline()


@pytest.mark.parametrize(
    ("name", "key", "ours"),
    [
        ("conch", "visual.attn_pool_contrast.attn.k_proj_weight", "token_head.k.weight"),
        ("conch_v1_5", "attn_pool_contrast.to_out.weight", "token_head.out.weight"),
        ("keep", "visual_head.0.weight", "token_head.0.weight"),
        ("musk", "beit3.encoder.layers.0.ffn.A.fc1.weight", "blocks.0.mlp.fc1.weight"),
        ("genbio_pathfm", "blocks.0.mlp.w2.weight", "blocks.0.mlp.fc1_x.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_told_in_one_line(
    name: str, key: str, ours: str, tiny: None, hub: Hub, tmp_path: Path
):
    checkpoint, stored, _ = stand_in(name)
    file = card_of(name).file or "model.safetensors"
    path = f"{card_of(name).source.removeprefix('https://huggingface.co/')}/{file}"
    strange = {"misshapen": {**stored, key: stored[key][:, :-1].clone()}, "missing": dict(stored)}
    del strange["missing"][key]
    for problem, state in strange.items():
        (tmp_path / problem).mkdir()
        hub.files[path] = file_bytes(name, state, tmp_path / problem / file)
        with pytest.raises(EvaError, match=rf"{checkpoint} does not: {problem} {ours}") as caught:
            registry.build_model(name)
        assert "\n" not in str(caught.value)
        for cached in tmp_path.rglob("models--*"):
            shutil.rmtree(cached)


@pytest.mark.parametrize("name", [name for name in NAMES if card_of(name).gated])
def test_a_gated_model_without_a_token_says_where_to_ask(name: str, tiny: None, hub: Hub):
    page = card_of(name).source
    hub.gated.add(page.removeprefix("https://huggingface.co/"))
    with pytest.raises(EvaError, match=page) as caught:
        registry.build_model(name)
    assert "\n" not in str(caught.value)
    assert "HF_TOKEN" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_offline_says_in_one_line_what_is_missing(name: str, tiny: None, offline: Any):
    offline()
    card = card_of(name)
    with pytest.raises(EvaError) as caught:
        registry.build_model(name)
    assert "\n" not in str(caught.value)
    assert card.source.removeprefix("https://huggingface.co/") in str(caught.value)


# The page that lists them.

PAGE = Path(__file__).parents[3] / "docs" / "models.md"


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
    for name in NAMES:
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
