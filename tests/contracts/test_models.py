"""What every registered model promises."""

import inspect
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch

from eva_core import registry
from eva_core.config.parser import build_parser
from eva_core.contracts.backbone import Backbone, sha256_of_weights
from eva_core.contracts.cards import ModelCard
from eva_pretrain.run.export import ExportDetails, export
from eva_vision.models import timm_backbone
from eva_vision.models.channelwise import ChannelwiseBackbone
from eva_vision.models.timm import timm_model
from eva_vision.models.timm_backbone import TimmBackbone

ENTRIES = [e for e in registry.models.entries() if e.package == "eva-pathology"]
NAMES = [e.name for e in ENTRIES]
FETCHED = [e.name for e in ENTRIES if not e.target.split(":")[0].endswith((".timm", ".baselines", ".exported"))]
"""Names whose weights are published files; they are built one block deep, with random numbers."""
SMALL: dict[str, dict[str, Any]] = {"timm_model": {"arch": "test_vit"}, "random_vits16": {"depth": 2}}
"""Arguments that a name needs, or that make it quick."""
SIDE = 112
"""A multiple of every patch size."""


@pytest.fixture(autouse=True, scope="module")
def _export(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The folder that `exported` needs."""
    state = timm_model("test_vit", depth=2).network.state_dict()  # type: ignore[operator, union-attr]
    facts = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": SIDE, "mpp": None, "config": "", "step": 1, "seen": []}
    folder = tmp_path_factory.mktemp("run") / "export"
    export(folder, state, "test_vit", {"depth": 2}, ExportDetails(name="tiny", **facts))  # type: ignore[arg-type]
    SMALL["exported"] = {"folder": str(folder)}


@pytest.fixture(scope="module")
def built() -> Any:
    """A function from a name to its model, built once, with random numbers where weights would be fetched."""
    cache: dict[str, Backbone] = {}
    create = timm.create_model

    def build(name: str) -> Backbone:
        if name not in cache:
            shallow = {"depth": 1, "mlp_ratio": 1.0} if name in FETCHED else {}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(timm, "create_model", lambda *a, **k: create(*a, **{**k, "pretrained": False, **shallow}))
                patch.setattr(timm_backbone, "load_weights", lambda *_: {})
                cache[name] = registry.build_model(name, **SMALL.get(name, {})).eval()
        return cache[name]

    return build


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, built: Any) -> Backbone:
    return built(request.param)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_name_is_legal_and_unique(entry: registry.Entry):
    assert registry.NAME.fullmatch(entry.name)
    assert registry.models.find(entry.name) == entry


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_read_without_weights(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: pytest.fail("a card needs no network"))
    card = registry.models.load(name).card
    assert isinstance(card, ModelCard)
    assert card.name == name
    assert len(card.mean) == len(card.std) == 3
    assert all(0 <= value <= 1 for value in card.mean)
    assert all(value > 0 for value in card.std)
    assert card.geometry.crop <= card.geometry.resize
    assert card.licence
    assert card.trained_on


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_documented_and_typed(name: str):
    builder = registry.models.load(name)
    assert inspect.signature(builder).return_annotation in (Backbone, "Backbone", "eva_core.Backbone")
    for parameter in inspect.signature(builder).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert f"{parameter.name}:" in builder.__doc__


GIVEN = {"timm_model": {"arch": "test_vit"}, "random_vits16": {"depth": "3"}, "exported": {"folder": "run"}}
"""Arguments as the command line has them."""


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_command_line_takes_the_name_and_its_arguments(entry: registry.Entry):
    given = GIVEN.get(entry.name, {})
    words = [f"--model={entry.class_path}", *(f"--model.{key}={value}" for key, value in given.items())]
    model = build_parser("fit").parse_args(words).model
    assert model.class_path == entry.class_path
    assert {key: str(model.init_args[key]) for key in given} == given


def test_reading_the_cards_imports_no_torch():
    code = f"import sys; from eva_core import registry; [registry.models.load(name).card for name in {NAMES}]; "
    done = subprocess.run([sys.executable, "-c", code + "sys.exit(bool({'torch', 'timm'} & sys.modules.keys()))"])
    assert done.returncode == 0


def test_what_is_built_has_the_card_of_its_builder(built: Any):
    for name in NAMES:
        card = registry.models.load(name).card
        if card.dim is not None:
            assert built(name).card == card
            assert built(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_the_card_agrees_with_what_timm_says(name: str, built: Any):
    """Where a card is written by hand over a timm network, nothing about tokens or colours may contradict it."""
    model = built(name)
    if hasattr(model, "network") and registry.models.load(name).card.dim is not None:
        timms = TimmBackbone(model.network, name).card
        checked = {"dim", "patch_size", "prefix_tokens", "pooling", "mean", "std", "precision"}
        if hasattr(model.network, "token_head") or isinstance(model, ChannelwiseBackbone):
            checked.remove("dim")  # which is not that of its tokens
        if name in FETCHED:  # timm knows the architecture, not how its publishers trained and read it
            checked -= {"pooling", "mean", "std", "precision"}
            timms = replace(timms, dim=timms.dim * (2 if model.card.pooling == "cls_mean" else 1))  # type: ignore[operator]
        assert {f: getattr(model.card, f) for f in checked} == {f: getattr(timms, f) for f in checked}


def test_embeddings_are_of_the_size_on_the_card(model: Backbone, images: torch.Tensor):
    with torch.inference_mode():
        embeddings = model(images)
    assert embeddings.shape == (3, model.card.dim)
    assert embeddings.dtype == torch.float32
    assert torch.isfinite(embeddings).all()
    assert len({tuple(row) for row in embeddings.tolist()}) == 3


def test_forward_is_deterministic_and_knows_no_batch(model: Backbone, images: torch.Tensor):
    with torch.inference_mode():
        together, again = model(images), model(images)
        alone = torch.cat([model(image[None]) for image in images])
    assert torch.equal(together, again)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_feature_map_has_a_cell_for_each_patch(model: Backbone, images: torch.Tensor):
    with torch.inference_mode():
        cell = model.card.patch_size or 16
        dense = model.feature_map(images[:, :, : 4 * cell])
    assert dense.shape[0] == 3
    assert dense.shape[2:] == (4, SIDE // cell)
    assert torch.isfinite(dense).all()


def test_prefix_tokens_are_what_a_transformer_puts_before_its_patches(model: Backbone, images: torch.Tensor):
    if model.card.patch_size is None:
        assert model.card.prefix_tokens == 0
        return
    with torch.inference_mode():
        channels = model.network.patch_embed.proj.in_channels  # type: ignore[union-attr]
        tokens = model.network.forward_features(images[:, :channels])  # type: ignore[operator, union-attr]
    assert tokens.shape[1] - (SIDE // model.card.patch_size) ** 2 == model.card.prefix_tokens


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("imagenet_dino_vits16", *FETCHED)])
def test_weights_are_the_same_each_time_whatever_ran_before(name: str, built: Any):
    torch.manual_seed(12345)
    again = registry.build_model(name, **SMALL.get(name, {}))
    assert sha256_of_weights(again) == sha256_of_weights(built(name))
    assert again.arguments == built(name).arguments
