from pathlib import Path

import pytest
import timm
import torch

from eva_core.errors import UsageError
from eva_vision.models.checkpoint_states import State
from eva_vision.models.timm import timm_model
from eva_vision.models.weights import load_weights
from tests.vision.models.test_weights import Network, is_loaded, refusal


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def state() -> State:
    """Weights that fit, all different."""
    return {k: torch.arange(v.numel()).reshape(v.shape).to(v.dtype) + 1 for k, v in Network().state_dict().items()}


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "backbone.", "model.", "module.backbone.", "_orig_mod.", "net.", "encoder.", "teacher.backbone."),
        *("student.", "my_very_own.", "state_dict.model.visual.trunk."),
    ],
)
@pytest.mark.parametrize("extra", [{}, {"other.bias": torch.ones(1)}])
def test_a_prefix_that_every_key_has_is_cut_off_and_said(tmp_path, network, state, prefix, extra, capsys):
    torch.save({"state_dict": {**{prefix + k: v for k, v in state.items()}, **extra}}, tmp_path / "a.pth")
    found = load_weights(network, str(tmp_path / "a.pth"))
    assert is_loaded(network, state)
    assert found["part"] == f"state_dict without the prefix {prefix!r}"
    said = capsys.readouterr().err
    assert found["part"] in said
    assert all(name in said for name in extra)


def test_a_key_that_does_not_fit_below_a_prefix_is_named(tmp_path: Path, state: State):
    state["second.bias"] = state.pop("first.bias")
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "a.pth")
    assert "missing first.bias; unexpected second.bias" in refusal(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("model", "model_ema"), "model_ema"),
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("student", "teacher"), "teacher"),
        (("model", "ema", "optimizer"), "ema"),
        (("online_network", "target_network"), "target_network"),
    ],
)
@pytest.mark.parametrize("flat", [False, True])
def test_of_several_networks_the_average_is_taken_and_said(tmp_path, network, state, names, taken, flat, capsys):
    other = {k: v + 1 for k, v in state.items()}
    parts = {name: state if name == taken else other for name in names}
    content = {f"{name}.{k}": v for name, part in parts.items() for k, v in part.items()} if flat else parts
    torch.save({**content, **({} if flat else {"epoch": 3})}, tmp_path / "a.pth")
    found = load_weights(network, str(tmp_path / "a.pth"))
    assert is_loaded(network, state)
    assert taken in found["part"]
    said = capsys.readouterr().err
    assert all(name in said for name in names)
    load_weights(network, str(tmp_path / "a.pth"), key=names[0])
    assert is_loaded(network, other)
    with pytest.raises(UsageError, match="Expected 'nothing' in"):
        load_weights(network, str(tmp_path / "a.pth"), key="nothing")


def test_only_what_fits_is_taken(tmp_path: Path, network: Network, state: State):
    content = {"teacher": {"projection": torch.ones(2)}, "model": state, "dino_loss": {"center": torch.ones(3)}}
    torch.save({**content, "epoch": 1}, tmp_path / "a.pth")
    load_weights(network, str(tmp_path / "a.pth"))
    assert is_loaded(network, state)


def test_a_prefix_is_cut_off_before_names_are_converted(tmp_path: Path, network: Network, state: State):
    torch.save({f"module.encoder.old_{k}": v for k, v in state.items()}, tmp_path / "a.pth")
    load_weights(network, str(tmp_path / "a.pth"), convert=lambda s: {k.removeprefix("old_"): v for k, v in s.items()})
    assert is_loaded(network, state)


def test_which_network_is_taken_can_be_asked_for_by_name(tmp_path: Path):
    models = [timm.create_model("test_vit", num_classes=0) for _ in range(2)]
    torch.save({"model": models[0].state_dict(), "model_ema": models[1].state_dict()}, tmp_path / "a.pth")
    for key, model in ((None, models[1]), ("model", models[0])):
        backbone = timm_model("test_vit", str(tmp_path / "a.pth"), checkpoint_key=key)
        assert is_loaded(backbone.network, model.state_dict())  # type: ignore[arg-type]
