"""Files of torch: what only holds values is read, what names code is refused by that name, and nothing ever runs."""

import argparse
import collections
import pathlib
import pickle
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from eva_core.files.torch_files import Refused, foreign_names, load_torch

HELD = {
    "arguments": argparse.Namespace(lr=1e-4, output=pathlib.Path("/x"), inner=argparse.Namespace(a=[1])),
    "best": np.float64(0.9),
    "step": np.int64(3),
    "half": np.float16(1),
    "flag": np.bool_(True),
    "curve": np.arange(4.0),
    "names": np.array(["a", "b"]),
    "objects": np.array([1, "x"], dtype=object),
    "type": np.dtype("f4"),
    "windows": pathlib.PureWindowsPath("C:/a"),
    "simple": types.SimpleNamespace(a=1),
    "counts": collections.defaultdict(list, a=[1]),
    "order": collections.OrderedDict(a=1),
    "frozen": frozenset([1]),
    "torch": (torch.float16, torch.Size([1])),
}


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_scripts_keep_beside_weights_is_read(tmp_path: Path, name: str, zipped: bool):
    content = {"model": {"a": torch.ones(2)}, name: HELD[name]}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert torch.equal(load_torch(tmp_path / "a.pth")["model"]["a"], torch.ones(2))


def test_configurations_of_omegaconf_and_lightning_are_read_and_nothing_in_them_is_resolved(tmp_path, monkeypatch):
    from lightning.fabric.utilities.data import AttributeDict
    from omegaconf import OmegaConf

    monkeypatch.setenv("SECRET", "hf_1234")
    config = OmegaConf.create({"a": [1, {"b": "${oc.env:SECRET}"}], "c": 1.5})
    torch.save({"w": torch.ones(1), "cfg": config, "hyper_parameters": AttributeDict(a=1)}, tmp_path / "a.ckpt")
    found = load_torch(tmp_path / "a.ckpt")
    assert found["hyper_parameters"] == {"a": 1}
    assert "hf_1234" not in str(vars(found["cfg"]))


class Calls:
    """Calls a function as it is read."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_code_is_refused_by_its_name_and_not_run(tmp_path: Path, protocol: int, how: str):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    evil = {"w": torch.ones(1) if how != "pickle" else 1, "e": Calls(__import__("os").mkdir, str(trace))}
    if how == "pickle":
        path.write_bytes(pickle.dumps(evil, protocol))
    else:
        torch.save(evil, path, pickle_protocol=max(protocol, 2), _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(Refused, match=r"evil\.pth: it is a pickle that wants to run code \(posix\.mkdir\)") as error:
        load_torch(path)
    assert "weights_only" not in str(error.value)
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, Path.touch, np.load, torch.load, map])
def test_what_is_inert_helps_nobody_to_what_is_not(tmp_path: Path, function):
    torch.save({"a": argparse.Namespace(x=Calls(function, "1"))}, tmp_path / "a.pth")
    with pytest.raises((Refused, pickle.UnpicklingError)):
        load_torch(tmp_path / "a.pth")


def test_a_file_that_is_no_pickle_names_nothing(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"<html>")
    assert foreign_names(tmp_path / "a") == []
