"""The CPU build of torch, taken from a local stand-in of the index that PyTorch keeps for it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "install/cpu_torch.py"


def wheel(index: Path, name: str, code: str, needs: str = "") -> None:
    """A wheel of version 2.99+cpu with one module, and its page on the index."""
    folder = index / name
    folder.mkdir(parents=True)
    file = f"{name}-2.99+cpu-py3-none-any.whl"
    info = f"{name}-2.99+cpu.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.99+cpu\n"
    members = {
        f"{name}.py": code,
        f"{info}/METADATA": metadata + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / file, "w") as archive:
        for path, text in members.items():
            archive.writestr(path, text)
        record = "".join(f"{path},,\n" for path in [*members, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    (folder / "index.html").write_text(f'<a href="{file}">{file}</a>')


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[subprocess.CompletedProcess, Path]:
    """Run the script in a fresh virtual environment against the index in tmp_path."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    argv = [venv / "bin/python", SCRIPT, (tmp_path / "index").as_uri()]
    return subprocess.run(argv, capture_output=True, text=True), venv


def test_both_come_from_one_index_and_are_tried_together(tmp_path, monkeypatch):
    wheel(tmp_path / "index", "torch", "def rand(*size): return size")
    works = "class ops:\n    nms = staticmethod(lambda *a: a)\n"
    wheel(tmp_path / "index", "torchvision", works, needs="torch==2.99")
    done, venv = installed(tmp_path, monkeypatch)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([venv / "bin/pip", "list"], capture_output=True, text=True).stdout
    assert [line.split() for line in listed.splitlines() if "torch" in line] == [
        ["torch", "2.99+cpu"],
        ["torchvision", "2.99+cpu"],
    ]


def test_a_pair_that_does_not_work_together_is_told(tmp_path, monkeypatch):
    wheel(tmp_path / "index", "torch", "def rand(*size): return size")
    wheel(tmp_path / "index", "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    done, _ = installed(tmp_path, monkeypatch)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Expected torchvision to work with torch for CPUs, but got: RuntimeError: operator torchvision::nms does not "
        "exist. `make clean`, then omit TORCH."
    )


def test_an_index_without_them_is_told(tmp_path, monkeypatch):
    (tmp_path / "index").mkdir()
    done, _ = installed(tmp_path, monkeypatch)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Expected torch and torchvision for CPUs in file://")
