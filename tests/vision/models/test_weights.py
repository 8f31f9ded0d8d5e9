"""Weights from files and from a hub: what fits is loaded, what does not is named, and no code is ever run."""

import hashlib
import json
import pickle
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save, save_file
from torch import nn

from eva_core.contracts.backbone import sha256_of_weights
from eva_core.errors import EvaError, UsageError
from eva_core.registry import build_model
from eva_vision.models.checkpoint_states import State
from eva_vision.models.timm import timm_model
from eva_vision.models.weights import best_fit, load_weights, read_checkpoint
from tests.hub import Hub


class Network(nn.Module):
    """Two layers to load into."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def state() -> State:
    """Weights that fit, all different."""
    return {k: torch.arange(v.numel()).reshape(v.shape).to(v.dtype) + 1 for k, v in Network().state_dict().items()}


@pytest.fixture
def file(tmp_path: Path, state: State) -> Path:
    save_file(state, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def is_loaded(network: nn.Module, state: State) -> bool:
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def refusal(checkpoint: Path | str, network: nn.Module | None = None) -> str:
    """The error that loading ends in: ours, and one line."""
    network = network or Network()
    before = sha256_of_weights(network)
    with pytest.raises(EvaError) as caught:
        load_weights(network, str(checkpoint))
    assert "\n" not in str(caught.value)
    assert sha256_of_weights(network) == before
    return str(caught.value)


# Files.


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": state},
        lambda state: {"teacher": state, "epoch": 3},
        lambda state: {k: nn.Parameter(v, requires_grad=False) for k, v in state.items()},
    ],
    ids=["plain", "state_dict", "model", "teacher", "parameters"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_wrapped_or_not(tmp_path: Path, network: Network, state: State, wrap, zipped: bool):
    torch.save(wrap(state), tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    load_weights(network, str(tmp_path / "weights.pth"))
    assert is_loaded(network, state)


def test_safetensors(file: Path, network: Network, state: State):
    load_weights(network, str(file))
    assert is_loaded(network, state)


def test_classifier_keys_are_dropped(tmp_path: Path, network: Network, state: State):
    extra = {"head.weight": torch.ones(5, 3), "head_dist.bias": torch.ones(5)}
    save_file(state | extra, tmp_path / "with_heads.safetensors")
    load_weights(network, str(tmp_path / "with_heads.safetensors"), ("head", "head_dist"))
    assert is_loaded(network, state)
    with pytest.raises(EvaError, match=r"unexpected head_dist\.bias\."):
        load_weights(network, str(tmp_path / "with_heads.safetensors"), ("head",))


@pytest.mark.parametrize(
    ("arch", "arguments"),
    [
        ("test_vit", {}),
        ("test_resnet", {}),
        ("test_convnext", {}),
        ("deit_tiny_distilled_patch16_224", {"depth": 1, "embed_dim": 16, "num_heads": 2}),
    ],
)
def test_a_network_saved_with_its_classifiers_loads_without(tmp_path: Path, arch: str, arguments: dict[str, int]):
    whole = timm.create_model(arch, num_classes=7, **arguments)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    backbone = timm_model(arch, checkpoint=str(tmp_path / "whole.safetensors"), **arguments)
    assert is_loaded(backbone.network, whole.state_dict())  # type: ignore[arg-type]


def test_every_key_that_does_not_fit_is_named(tmp_path: Path, state: State):
    state["second.weight"] = state.pop("first.bias")
    state["norm.bias"] = torch.ones(4)
    save_file(state, tmp_path / "other.safetensors")
    message = refusal(tmp_path / "other.safetensors")
    assert "other.safetensors" in message
    assert "missing first.bias; unexpected second.weight; misshapen norm.bias (4,) instead of (3,)" in message


def test_many_keys_are_cut_and_counted(tmp_path: Path, state: State):
    save_file(state | {f"extra.{i}": torch.ones(1) for i in range(30)}, tmp_path / "big.safetensors")
    assert "and 25 more" in refusal(tmp_path / "big.safetensors")


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path):
    for path in (tmp_path / "gone.safetensors", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            read_checkpoint(path)


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.", "teacher.", "module.backbone.", "a.of_its_own."])
def test_the_part_that_fits_best_is_taken_without_its_prefix(state: State, prefix: str, capsys):
    del state["first.bias"]  # not all need to fit
    content = {"model": {f"{prefix}{name}": value for name, value in state.items()}, "optimizer": {"lr": 1.0}}
    assert best_fit(content, Network().state_dict().keys(), "a.pth").keys() == state.keys()
    assert (f"without the prefix {prefix!r}" in capsys.readouterr().err) is bool(prefix)


def test_of_teacher_and_student_the_teacher_is_taken_and_both_are_said(state: State, capsys):
    content = {f"{name}.backbone.{k}": n * v for n, name in enumerate(("student", "teacher")) for k, v in state.items()}
    found = best_fit(content, Network().state_dict().keys(), "a.pth")
    assert all(torch.equal(found[name], value) for name, value in state.items())
    said = capsys.readouterr().err
    assert "Weights of a.pth: without the prefix 'teacher.backbone.'; also there: without the prefix 'student." in said


def test_key_names_are_converted_before_anything_is_compared(file: Path, network: Network, state: State):
    save_file({f"student.{name}": value for name, value in state.items()}, file)
    load_weights(network, str(file), convert=lambda found: {k.removeprefix("student."): v for k, v in found.items()})
    assert is_loaded(network, state)


def test_where_a_file_came_from_is_told(file: Path, network: Network):
    found = load_weights(network, str(file))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert found == {"source": str(file), "revision": "unknown", "file_sha256": sha256}


class Payload:
    """Leaves a file behind when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "torch_legacy", "pickle_2", "pickle_5"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, state: State, how: str):
    path, evil = tmp_path / "weights.bin", {**state, "payload": Payload(tmp_path / "trace")}
    if how.startswith("torch"):
        torch.save(evil, path, _use_new_zipfile_serialization=how == "torch")
    else:
        path.write_bytes(pickle.dumps(evil, protocol=int(how[-1])))
    message = refusal(path)
    assert str(path) in message
    assert "wants to run code (pathlib.Path.touch" in message or how != "pickle_5"
    assert "wants to run code" in message
    assert not (tmp_path / "trace").exists()
    with path.open("rb") as handle:  # it would have, had anyone let it
        if how == "pickle_5":
            pickle.load(handle)
            assert (tmp_path / "trace").exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    assert "wants to run code" in refusal(tmp_path / "module.pt")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("kept", [0, 1, 10, 30, 100, 350, 1000, -10])
def test_a_truncated_file_is_named_and_not_called_malicious(tmp_path: Path, kind: str, kept: int):
    path, tensors = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth"), {"a": torch.rand(1000)}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    message = refusal(path)
    assert str(path) in message
    assert "run code" not in message


@pytest.mark.parametrize(
    "content", [b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x93\x02\xff"]
)
def test_what_is_no_file_of_weights_is_not_called_malicious(tmp_path: Path, content: bytes):
    (tmp_path / "a.bin").write_bytes(content)
    message = refusal(tmp_path / "a.bin")
    assert str(tmp_path / "a.bin") in message
    assert "run code" not in message


@pytest.mark.parametrize("held", [[1, 2], {"a": 1}, {0: torch.ones(1)}, torch.ones(2), {"state_dict": {"a": "b"}}])
def test_what_holds_no_tensors_by_name_is_refused(tmp_path: Path, held: object):
    torch.save(held, tmp_path / "a.pt")
    assert "tensors by name" in refusal(tmp_path / "a.pt")


# The hub.


def torch_bytes(state: State, path: Path) -> bytes:
    torch.save(state, path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_the_hub_s_usual_files_are_found(hub: Hub, tmp_path: Path, network: Network, state: State, name: str):
    hub.files["owner/name/" + name] = save(state) if "safe" in name else torch_bytes(state, tmp_path / "a.pt")
    load_weights(network, "hf-hub:owner/name")
    assert is_loaded(network, state)


def test_safetensors_go_before_pickles(hub: Hub, network: Network, state: State):
    hub.files |= {"owner/name/model.safetensors": save(state), "owner/name/pytorch_model.bin": b"no weights"}
    load_weights(network, "hf-hub:owner/name")
    assert is_loaded(network, state)


@pytest.mark.parametrize("name", ["teacher.safetensors", "below/teacher.safetensors"])
def test_a_file_can_be_named(hub: Hub, network: Network, state: State, name: str):
    hub.files["owner/name/" + name] = save(state)
    load_weights(network, f"hf-hub:owner/name/{name}")
    assert is_loaded(network, state)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("named", [True, False])
def test_what_is_in_the_cache_needs_no_network(
    hub: Hub, offline, tmp_path: Path, network: Network, state: State, name: str, named: bool
):
    hub.files["owner/name/" + name] = save(state) if "safe" in name else torch_bytes(state, tmp_path / "a.pt")
    checkpoint = f"hf-hub:owner/name/{name}" if named else "hf-hub:owner/name"
    load_weights(Network(), checkpoint)
    offline()
    load_weights(network, checkpoint)
    assert is_loaded(network, state)


@pytest.mark.parametrize("checkpoint", ["hf-hub:owner/name@{}", "hf-hub:owner/name@{}/model.safetensors"])
def test_a_revision_can_be_named_and_is_told(hub: Hub, offline, network: Network, state: State, checkpoint: str):
    hub.files["owner/name/model.safetensors"] = save(state)
    checkpoint = checkpoint.format("a" * 40)
    for _ in range(2):
        found = load_weights(network, checkpoint)
        assert is_loaded(network, state)
        assert found == {
            "source": checkpoint,
            "revision": "a" * 40,
            "file_sha256": hashlib.sha256(save(state)).hexdigest(),
        }
        offline()
    assert "network" in refusal("hf-hub:owner/name@" + "b" * 40)


@pytest.mark.parametrize("checkpoint", ["hf-hub:owner/name", "hf-hub:owner/name/a.safetensors"])
def test_offline_is_one_line(offline, checkpoint: str):
    offline()
    message = refusal(checkpoint)
    assert checkpoint in message
    assert "network" in message


def test_a_hub_that_does_not_answer_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client's pauses between attempts
    assert "hf-hub:owner/name" in refusal("hf-hub:owner/name")


@pytest.mark.parametrize("checkpoint", ["hf-hub:owner/fm", "hf-hub:owner/fm/a.safetensors"])
def test_a_gated_repository_names_its_page(hub: Hub, checkpoint: str):
    hub.gated.add("owner/fm")
    assert "https://huggingface.co/owner/fm" in refusal(checkpoint)


def test_a_repository_or_a_file_that_is_not_there_is_named(hub: Hub, state: State):
    assert "hf-hub:owner/gone" in refusal("hf-hub:owner/gone")
    hub.files["owner/name/teacher.safetensors"] = save(state)
    assert "hf-hub:owner/name/FILE" in refusal("hf-hub:owner/name")
    assert "student.safetensors" in refusal("hf-hub:owner/name/student.safetensors")


@pytest.mark.parametrize("checkpoint", ["hf-hub:", "hf-hub:owner", "hf-hub:owner/", "hf-hub:not a/name"])
def test_what_is_no_repository_is_refused(hub: Hub, checkpoint: str):
    assert checkpoint in refusal(checkpoint)


def test_a_pickle_from_the_hub_is_not_run(hub: Hub, tmp_path: Path, state: State):
    evil = torch_bytes({**state, "payload": Payload(tmp_path / "trace")}, tmp_path / "evil.pt")  # type: ignore[dict-item]
    hub.files["owner/name/pytorch_model.bin"] = evil
    assert "wants to run code" in refusal("hf-hub:owner/name")
    assert not (tmp_path / "trace").exists()


# Files of a release.


@pytest.fixture
def release(hub: Hub, state: State, tmp_path: Path) -> str:
    """The URL of a torch file that somebody published."""
    hub.files["owner/name/0.0.1/weights.pth"] = torch_bytes({"teacher": state}, tmp_path / "a.pt")  # type: ignore[dict-item]
    return f"http://127.0.0.1:{hub.server_port}/owner/name/releases/download/0.0.1/weights.pth"


def test_a_file_of_a_release_is_fetched_once(release: str, offline, cache: Path, network: Network, state: State):
    expected = load_weights(Network(), release)
    offline()
    assert load_weights(network, release) == expected
    assert is_loaded(network, state)
    (path,) = (p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")
    assert path.is_relative_to(cache / "weights")
    assert expected["source"] == release
    assert expected["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_of_a_release_is_held_against_its_checksum(release: str, hub: Hub, network: Network, state: State):
    (body,) = hub.files.values()
    assert "md5:" + "0" * 32 in refusal(f"{release}#md5={'0' * 32}")
    assert "#sha256=" in refusal(f"{release}#crc32=00")
    found = load_weights(network, f"{release}#md5={hashlib.md5(body).hexdigest()}")
    assert is_loaded(network, state)
    assert found["source"] == release


def test_a_release_that_cannot_be_had_is_one_line(release: str, offline):
    assert "HTTP 404" in refusal(f"{release}.gone")
    offline()
    message = refusal(release)
    assert "HF_HUB_OFFLINE" in message
    assert release in message


# What a checkpoint holds beside the weights, and round them.


# What servers send in place of weights.


@pytest.mark.parametrize("content", [b"<html>Please log in</html>", b"", b"<Error><Code>ExpiredToken</Code></Error>"])
def test_what_is_no_file_of_weights_is_not_kept(release: str, hub: Hub, cache: Path, network, state, content: bytes):
    ((name, body),) = hub.files.items()
    for wrong in (content, body[: len(body) // 2]):
        hub.files[name] = wrong
        message = refusal(f"{release}?X-Amz-Signature=dead")
        assert f"Expected the file of {release}, but what came is" in message
        assert not [path for path in (cache / "weights").iterdir() if path.suffix != ".lock"]
    hub.files[name] = body
    assert load_weights(network, release)["source"] == release
    assert is_loaded(network, state)


def test_what_an_older_run_kept_in_their_place_is_asked_for_again(release, cache, network, state, capsys):
    load_weights(Network(), release)
    (path,) = (p for p in (cache / "weights").iterdir() if p.suffix != ".lock")
    for content in (b"<html>Please log in</html>", path.read_bytes()[:-30]):
        path.write_bytes(content)
        load_weights(network, release)
        assert is_loaded(network, state)
        assert str(path) in capsys.readouterr().err


def test_a_renewed_signature_is_the_same_file_and_is_kept_nowhere(release, hub, cache, network, capsys):
    for signature in ("dead", "beef"):
        found = load_weights(network, f"{release}?X-Amz-Credential=AKIA&X-Amz-Signature={signature}")
        assert found["source"] == release
    assert len([path for path in (cache / "weights").iterdir() if path.suffix != ".lock"]) == 1
    assert "dead" not in capsys.readouterr().err


# timm's own way to the hub.


@pytest.fixture
def on_hub(hub: Hub) -> nn.Module:
    """A classifier that lies on the hub as timm pushes it, `owner/tiny`."""
    network = timm.create_model("test_vit", num_classes=3)
    about = {**network.pretrained_cfg, "mean": [0.7, 0.6, 0.7]}  # type: ignore[dict-item]
    config = {"architecture": "test_vit", "num_classes": 3, "pretrained_cfg": about}
    hub.files["owner/tiny/config.json"] = json.dumps(config).encode()
    hub.files["owner/tiny/model.safetensors"] = save(network.state_dict())
    return network


def test_an_architecture_from_the_hub(on_hub: nn.Module):
    backbone = timm_model("hf-hub:owner/tiny", pretrained=True)
    assert is_loaded(backbone.network, on_hub.state_dict())  # type: ignore[arg-type]
    assert backbone.card.mean == (0.7, 0.6, 0.7)
    assert backbone.name == "hf-hub:owner/tiny"


def test_an_architecture_from_the_hub_has_random_weights_unless_asked(on_hub: nn.Module):
    drawn = timm_model("hf-hub:owner/tiny").network.state_dict()  # type: ignore[union-attr]
    own = timm_model("test_vit").network.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(drawn[name], own[name]) for name in own)


def test_pretrained_takes_the_weights_that_timm_names(hub: Hub):
    """Of all registered names, the one that fetches: `imagenet_dino_vits16`, from a stand-in of the same shapes."""
    network = timm.create_model("vit_small_patch16_224.dino", num_classes=0)
    hub.files["timm/vit_small_patch16_224.dino/model.safetensors"] = save(network.state_dict())
    backbone = build_model("imagenet_dino_vits16")
    assert sha256_of_weights(backbone.network) == sha256_of_weights(network)
    assert backbone.name == "imagenet_dino_vits16"
    assert backbone.provenance == {
        "source": "hf-hub:timm/vit_small_patch16_224.dino",
        "revision": "0" * 40,
        "file_sha256": hashlib.sha256(*hub.files.values()).hexdigest(),
    }


@pytest.mark.parametrize("arguments", [{"arch": "hf-hub:owner/fm"}, {"arch": "hf-hub:owner/fm", "pretrained": True}])
def test_a_gated_architecture_names_its_page(hub: Hub, arguments: dict[str, object]):
    hub.gated.add("owner/fm")
    with pytest.raises(EvaError, match=r"https://huggingface\.co/owner/fm") as caught:
        timm_model(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arch", ["hf-hub:owner/gone", "hf-hub:not a/name", "hf-hub:", "test_vit.r160_in1k"])
def test_weights_that_timm_cannot_get_are_one_line(hub: Hub, offline, arch: str):
    for _ in range(2):
        with pytest.raises(EvaError, match="Cannot get the weights") as caught:
            timm_model(arch, pretrained=True)
        assert arch in str(caught.value)
        assert "\n" not in str(caught.value)
        offline()
