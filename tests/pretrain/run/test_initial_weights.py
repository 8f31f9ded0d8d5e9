"""What a run starts from: an export, a checkpoint, or a network of timm."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from eva_core import registry
from eva_core.contracts.cards import ModelCard, card
from eva_core.errors import EvaError, UsageError
from eva_core.registry import build_model
from eva_pretrain.network.vit import Architecture
from eva_pretrain.run.config import parse
from eva_pretrain.run.initial_weights import images_seen_by, load_initial_weights, seen_by
from eva_vision.models.exported import exported
from eva_vision.models.timm import timm_model
from tests.pretrain.run.test_pretrain import TINY, run

WITH_REGISTERS = {
    "depth": 2,
    "embed_dim": 24,
    "num_heads": 3,
    "init_values": 1e-5,
    "reg_tokens": 2,
    "no_embed_class": True,
}


def test_starts(patches, tmp_path, capsys):
    export = run(patches, tmp_path / "first", "--steps", "2")
    capsys.readouterr()
    run(patches, tmp_path / "second", "--steps", "1", "--start", str(export), "--recipe.heads_alone", "1.0")
    said = capsys.readouterr().err
    assert "Loaded" in said
    assert "heads.dino" in said
    ours, theirs = exported(str(tmp_path / "second/export")).state_dict(), exported(str(export)).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)  # heads learnt alone
    checkpoint = tmp_path / "first/checkpoints/step-2.ckpt"
    run(
        patches,
        tmp_path / "third",
        "--steps",
        "1",
        "--start",
        str(checkpoint),
        "--vit.size",
        "48",
        "--views.global_size",
        "48",
    )
    assert "heads" not in capsys.readouterr().err
    with pytest.raises(EvaError, match="other shapes"):
        run(
            patches,
            tmp_path / "fourth",
            "--start",
            str(export),
            "--vit.arguments={depth: 2, embed_dim: 48, num_heads: 3}",
        )
    with pytest.raises(UsageError, match="Expected a name of `eva models`, a pretrained network of timm"):
        run(patches, tmp_path / "fifth", "--start", "nonsense")


def test_what_a_start_has_seen(patches, tmp_path):
    export = run(patches, tmp_path / "run", "--steps", "1")
    checkpoint = tmp_path / "run/checkpoints/step-1.ckpt"
    assert seen_by(None) == seen_by("vit_small_patch16_224.dino") == []
    assert seen_by(str(export)) == seen_by(str(checkpoint)) == []  # of a folder, images are known by their bytes
    assert len(images_seen_by(str(export))) == 4
    assert images_seen_by(str(export)).tolist() == images_seen_by(str(checkpoint)).tolist()
    assert len(images_seen_by(None)) == len(images_seen_by("vit_small_patch16_224.dino")) == 0
    assert seen_by(str(tmp_path / "others.pth")) == [("others.pth", None)]  # it does not say


def test_a_file_that_is_not_there_is_one_line(patches, tmp_path):
    with pytest.raises(UsageError, match=r"Expected a file of weights, but /nowhere/x\.pth does not exist"):
        run(patches, tmp_path / "run", "--start", "/nowhere/x.pth")


ROTARY = [
    "--vit.arch=vit_small_patch16_dinov3",
    "--vit.arguments={depth: 1, embed_dim: 24, num_heads: 2, init_values: 1.0e-5}",
]


def test_a_rotary_network_trains_from_its_own_export(patches, tmp_path, capsys):
    export = run(patches, tmp_path / "first", "--steps", "1", *ROTARY)
    model = exported(str(export)).eval()
    assert model(torch.zeros(1, 3, 48, 48)).shape == (1, 24)
    assert model.network.num_prefix_tokens == 5
    capsys.readouterr()
    run(patches, tmp_path / "second", "--steps", "1", "--start", str(export), *ROTARY)
    assert "Left as they were" not in capsys.readouterr().err.replace("heads", "").partition("heads")[2]


@pytest.fixture
def _tiny_fm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry.models, "_registered", {})

    @registry.models.register("tiny_fm")
    @card(ModelCard("tiny_fm", dim=24, licence="CC-BY-NC-ND-4.0", gated=True, source="https://example.org/tiny_fm"))
    def tiny_fm():
        return timm_model("vit_tiny_patch16_224", size=64, depth=2, embed_dim=24, num_heads=3, init_values=1e-5)


@pytest.mark.usefixtures("_tiny_fm")
def test_a_start_by_name_says_its_licence_registers_and_pixels(patches, tmp_path, capsys):
    plan = parse([*TINY, "--folder", str(patches), "--output", str(tmp_path), "--start", "tiny_fm"])
    setup = replace(plan.setup, architecture=replace(plan.setup.architecture, arguments=WITH_REGISTERS))
    method = plan.method(setup, **plan.method_arguments)
    load_initial_weights(method, "tiny_fm")
    said = capsys.readouterr().err
    assert "licence CC-BY-NC-ND-4.0, gated: its page https://example.org/tiny_fm" in said
    assert "Registers: 0 in tiny_fm, 2 in the network; 2 new ones are random." in said
    start = build_model("tiny_fm").network.state_dict()
    vit = method.teacher.vit.network
    assert torch.equal(vit.blocks[1].mlp.fc2.weight, start["blocks.1.mlp.fc2.weight"])
    assert vit.pos_embed.shape == (1, 4, 24)
    assert seen_by("tiny_fm") == []
    with pytest.raises(EvaError, match=r"made for: --vit.arch vit_tiny_patch16_224 --vit.arguments '\{\"depth\": 2"):
        load_initial_weights(
            plan.method(replace(setup, architecture=Architecture("vit_tiny_patch16_224", 32)), **plan.method_arguments),
            "tiny_fm",
        )


def method(**changes):
    """A method that nothing has trained."""
    plan = parse([*TINY, "--folder", "."])
    setup = replace(plan.setup, architecture=replace(plan.setup.architecture, **changes))
    return plan.method(setup, **plan.method_arguments)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Weights that fit `method`."""
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0, **WITH_REGISTERS)
    return {k: v for k, v in network.state_dict().items() if k != "reg_token" and ".ls" not in k}


def wrapped(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        lambda state: wrapped(state, "module.backbone."),
        lambda state: {"student": wrapped(state, "module."), "teacher": wrapped(state, "module."), "optimizer": {}},
        lambda state: wrapped(state, "student.backbone.") | wrapped(state, "teacher.backbone."),
        lambda state: {"state_dict": wrapped(state, "teacher.vit.network."), "global_step": 4},  # a snapshot of ours
    ],
    ids=["prefix", "dino", "dinov2", "snapshot"],
)
def test_a_file_of_another_program_starts_without_what_it_put_round_the_network(tmp_path, state, content, capsys):
    torch.save(content(state), tmp_path / "a.pth")
    started = method()
    load_initial_weights(started, str(tmp_path / "a.pth"))
    assert all(
        torch.equal(started.teacher.vit.network.state_dict()[name], value)
        for name, value in state.items()
        if name.startswith("blocks")
    )
    assert f"Weights of {tmp_path / 'a.pth'}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {k: v for k, v in state.items() if "blocks.1." not in k}, "has 1 blocks"),
        (lambda state: state | {k.replace("blocks.1", "blocks.2"): v for k, v in state.items()}, "has 3 blocks"),
        (lambda state: {k: (100 * v).to(torch.int8) for k, v in state.items()}, "whole numbers in blocks.0.attn.proj"),
        (lambda state: state | {"norm.weight": state["norm.weight"] * torch.nan}, "NaN, .* in norm.weight"),
        (lambda state: {"layer1.conv.weight": state["norm.weight"]}, r"has other names \(layer1.conv.weight\)"),
    ],
    ids=["shallower", "deeper", "quantised", "nan", "others"],
)
def test_weights_that_would_not_start_the_network_are_refused(
    tmp_path: Path, state: dict[str, torch.Tensor], change: Callable[..., dict[str, torch.Tensor]], said: str
):
    save_file({k: v.clone() for k, v in change(state).items()}, tmp_path / "a.safetensors")
    with pytest.raises(EvaError, match=said) as caught:
        load_initial_weights(method(), str(tmp_path / "a.safetensors"))
    assert "\n" not in str(caught.value)


def test_what_the_backbone_lacks_is_named_before_the_heads(tmp_path, state, capsys):
    save_file({k: v for k, v in state.items() if k != "pos_embed"}, tmp_path / "rotary.safetensors")
    load_initial_weights(method(), str(tmp_path / "rotary.safetensors"))
    assert "because it has none: pos_embed, heads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("https://host/model.pth", "but got https://host/model.pth. Download it first"),
        ("{folder}", "Expected the export of `eva pretrain`, but .* has no card.json. Give its folder"),
    ],
)
def test_a_start_of_another_kind_is_told_what_to_give(patches, tmp_path, start, said):
    (tmp_path / "first").mkdir()
    with pytest.raises(UsageError, match=said):
        run(patches, tmp_path / "run", "--start", start.format(folder=tmp_path / "first"))


def test_every_way_to_an_export_leads_to_what_it_has_seen(patches, tmp_path):
    export = run(patches, tmp_path / "run", "--steps", "1", "--training.keep_every", "1")
    ways = [export, export / "model.safetensors", tmp_path / "run", tmp_path / "run/snapshots/step-1.ckpt"]
    assert [len(images_seen_by(str(way))) for way in ways] == [4] * 4
    assert [seen_by(str(way)) for way in ways] == [[]] * 4
    started = method(arguments={"depth": 2, "embed_dim": 24, "num_heads": 3})
    load_initial_weights(started, str(tmp_path / "run"))
    assert torch.equal(
        started.teacher.vit.network.norm.weight, exported(str(export)).network.get_parameter("norm.weight")
    )
