"""What stands in the way of an install is one line, before anything is downloaded."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from collections import namedtuple
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
PIPLESS = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def check() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("install_check", HOME / "install/check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def roomy(check, monkeypatch) -> None:
    monkeypatch.setattr(check, "free", lambda _: 1000)


def line(capsys) -> str:
    """The one line on standard error; nothing else was printed."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("python", [(3, 10, 9), (3, 15, 0)])
def test_a_wrong_python_is_told_with_one_that_works(check, python, monkeypatch, capsys, tmp_path):
    version = namedtuple("Version", "major minor micro")(*python)
    monkeypatch.setattr(check, "sys", types.SimpleNamespace(**{**vars(sys), "version_info": version}))
    monkeypatch.setattr(check.shutil, "which", lambda name: name if name == "python3.12" else None)
    assert check.main([str(tmp_path / "venv")]) == 1
    said = line(capsys)
    assert said.startswith("Expected Python 3.11 to 3.14, but ")
    assert said.endswith("Choose another, then try again with PYTHON=python3.12.\n")


def test_the_bounds_are_those_of_the_package(check):
    assert check.bounds() == ((3, 11), (3, 15))
    listed = re.findall(r"Python :: (3\.\d+)", (HOME / "pyproject.toml").read_text())
    assert listed == ["3.11", "3.12", "3.13", "3.14"]


def test_a_python_without_the_venv_module_is_told(check, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert check.main([str(tmp_path / "venv")]) == 1
    assert f"apt install python3.{sys.version_info.minor}-venv" in line(capsys)


@pytest.mark.parametrize(("torch", "free", "enough"), [("", 12.0, False), ("", 14.0, True), ("cpu", 3.0, True)])
def test_a_full_disk_is_told(check, torch, free, enough, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(check.sys, "platform", "linux")
    monkeypatch.setattr(check.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(check, "free", lambda _: free)
    monkeypatch.setattr(check, "disk_of", lambda _: 1)
    assert check.main([str(tmp_path / "venv"), torch]) == (0 if enough else 1)
    if not enough:
        assert "Expected 13.0 GB free on the disk of" in line(capsys)


def test_disks_are_counted_each_for_itself(check, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_CACHE_DIR", "/cache")
    monkeypatch.setattr(check, "existing", lambda path: path)
    monkeypatch.setattr(check, "disk_of", lambda path: {"/venv": 1, "/cache": 2}.get(path, 3))
    monkeypatch.setattr(check, "free", lambda path: {"/venv": 6.5, "/cache": 3.2}.get(path, 9))
    assert "Expected 3.3 GB free on the disk of /cache, but it has 3.2 GB" in check.full_disk("/venv", (3.3, 6.4))


def test_another_word_than_cpu_is_told(check, capsys, tmp_path):
    assert check.main([str(tmp_path / "venv"), "gpu"]) == 1
    assert line(capsys) == ("Expected TORCH=cpu or no TORCH, but got TORCH=gpu. Without it torch comes from PyPI.\n")


@pytest.mark.usefixtures("roomy")
def test_what_will_be_downloaded_is_said_before(check, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(check.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(check.sys, "platform", "linux")
    monkeypatch.setattr(check.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(check, "no_network", lambda: None)
    monkeypatch.setattr(check, "has", lambda module: module == "pip")
    assert check.main([str(tmp_path)]) == 0
    assert f"torch for CUDA into {tmp_path}: about 3.3 GB to download, 6.4 GB on disk" in capsys.readouterr().out
    assert check.main([str(tmp_path), "cpu"]) == 0
    assert "torch for CPUs into" in capsys.readouterr().out
    monkeypatch.setattr(check, "has", lambda _: True)
    assert check.main([str(tmp_path)]) == 0
    assert "beside torch" in capsys.readouterr().out


@pytest.mark.usefixtures("roomy")
def test_an_environment_without_pip_is_told(check, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(check.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(check, "has", lambda _: False)
    assert check.main([str(tmp_path)]) == 1
    assert "Remove the folder with `make clean`" in line(capsys)


def test_no_network_is_told(check, monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in PIPLESS.items():
        monkeypatch.setenv(name, value)
    assert check.no_network().startswith("Expected a package index, but pip reaches none. Check the network")


NOT_OURS = ("PIP_", "MAKE", "MFLAGS", "VENV", "PYTHON", "TORCH")
"""Beginnings of variables that an outer `make` or its caller may have set."""


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    env = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    argv = ["make", "-C", str(folder), *words]
    return subprocess.run(argv, capture_output=True, text=True, env={**env, **variables})


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What `make demo` reads before anything is installed."""
    for name in ("Makefile", "pyproject.toml", "install/check.py", "install/cpu_torch.py"):
        target = tmp_path / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HOME / name, target)
    return tmp_path / "checkout"


def test_make_without_a_python_is_told(checkout):
    done = make(checkout, "demo", "PYTHON=python3.99")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "Expected Python, but there is no python3.99. Name one: make PYTHON=..."


def test_make_without_a_network_is_told_and_installs_nothing(checkout):
    done = make(checkout, "demo", f"PYTHON={sys.executable}", **PIPLESS)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(("Expected a package index", "Expected 3.", "Expected 13."))
    assert "to download" not in done.stdout
    assert not (checkout / ".venv/.installed").exists()


def test_make_with_cpu_asks_the_official_index(checkout):
    done = make(checkout, "--dry-run", "demo", "TORCH=cpu")
    lines = done.stdout.splitlines()
    cpu = lines.index('.venv/bin/python install/cpu_torch.py "https://download.pytorch.org/whl/cpu"')
    assert "install/check.py" in lines[cpu - 1]
    assert "pip install --quiet --editable ." in lines[cpu + 1]
    assert "cpu_torch" not in make(checkout, "--dry-run", "demo").stdout
