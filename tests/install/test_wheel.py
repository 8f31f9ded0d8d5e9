"""eva as people install it, not editable: from the folder, and from a wheel."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
OFFLINE = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]


def pip(*argv: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", *OFFLINE, "--wheel-dir", folder, HOME)
    (file,) = folder.iterdir()
    return file


def environment(folder: Path) -> Path:
    """Make a virtual environment that sees the packages that are here, but not the editable eva among them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    paths = [path for path in sys.path if Path(path).name == "site-packages"]
    site = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "shared.pth").write_text("\n".join(paths) + "\n")
    return folder


def run(venv: Path, *argv: str) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([venv / "bin" / argv[0], *argv[1:]], capture_output=True, text=True, cwd=venv, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def place(venv: Path) -> Path:
    return Path(run(venv, "python", "-c", "import eva_core; print(eva_core.__file__)").strip())


def lists_and_evaluates(venv: Path) -> None:
    assert venv in place(venv).parents
    assert "leaderboard" in run(venv, "eva", "--help")
    for kind, name in (("datasets", "phantom"), ("models", "colour_stats"), ("protocols", "strict")):
        assert name in run(venv, "eva", kind)
    fit = ("fit", "--config", "phantom", "--model", "colour_stats", "--protocol.runs", "1", "--device", "cpu")
    run(venv, "eva", *fit, "--workers", "0", "--output", "out")
    results = json.loads((venv / "out/results.json").read_text())
    assert results["identity"]["model"] == "colour_stats"


def test_the_folder_installs_and_evaluates(tmp_path):
    venv = environment(tmp_path / "venv")
    pip("--python", venv / "bin/python", "install", *OFFLINE, HOME)
    lists_and_evaluates(venv)


def test_a_wheel_installs_and_evaluates(wheel, tmp_path):
    assert wheel.name.endswith("-py3-none-any.whl")
    venv = environment(tmp_path / "venv")
    pip("--python", venv / "bin/python", "install", *OFFLINE, wheel)
    lists_and_evaluates(venv)


def test_a_wheel_has_the_real_slide_with_its_licence_and_stays_small(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {file.filename: file.file_size for file in archive.infolist()}
    example = "eva_vision/slides/example"
    assert names[f"{example}/CMU-1-Small-Region.svs"] == 1_938_955
    assert f"{example}/README.md" in names
    assert "eva_pretrain/run/demo_page.html" in names
    assert wheel.stat().st_size < 4_000_000
