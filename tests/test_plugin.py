"""A third-party package, installed for real, through the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent / "plugin_example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin pip-installed into it."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(PLUGIN, source)
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True)
    return target


def eva(site: Path, *argv: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, "-m", "eva_core.cli", *argv], capture_output=True, text=True, env=env)


def pretend(site: Path, package: str, entries: str, code: str) -> None:
    """A second package on the path, down to what the registry reads."""
    info = site / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\nSummary: x\n")
    (info / "entry_points.txt").write_text(entries)
    (site / f"{package}.py").write_text(code)


def test_its_names_are_listed_with_its_package(site):
    assert "edges                 eva-plugin-example 0.3.0  An example plugin" in eva(site, "models").stdout
    assert "stripes" in eva(site, "datasets").stdout
    heads = eva(site, "heads").stdout
    assert "nearest_mean" in heads
    assert "smooth_seg" in heads
    assert "licence        MIT" in eva(site, "models", "edges").stdout


def test_its_model_dataset_and_head_are_evaluated_together(site, tmp_path):
    flags = ["--model", "edges", "--model.power", "2", "--dataset", "stripes", "--dataset.n", "48"]
    done = eva(site, "fit", *flags, "--head", "nearest_mean", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["identity"]["model"] == "edges"
    assert results["identity"]["head"] == "nearest_mean"
    assert results["identity"]["protocol"] == "eva-0.4+head=nearest_mean"
    assert results["main"]["mean"] > 0.9
    assert "synthetic" in done.stdout


def test_its_head_for_masks_is_evaluated_with_its_model(site, tmp_path):
    data = ["--dataset", "phantom_nuclei", "--dataset.train", "4", "--dataset.val", "1", "--dataset.test", "2"]
    rules = ["--protocol", "eva-0.4-offline", "--protocol.segmentation.steps", "4", "--protocol.runs", "1"]
    flags = ["--model", "edges", *data, "--dataset.size", "48", *rules]
    done = eva(site, "fit", *flags, "--head", "smooth_seg", "--head.width", "5", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["identity"]["head"] == "smooth_seg(width=5)"
    assert results["identity"]["protocol"] == "eva-0.4-offline+head=smooth_seg(width=5)+runs=1+segmentation.steps=4"
    assert results["main"]["metric"] == "dice"
    assert (tmp_path / "out" / "overlays" / "worst.png").exists()


def test_its_wrong_argument_is_one_line(site):
    done = eva(site, "fit", "--model", "edges", "--model.powr", "2", "--dataset", "stripes")
    assert done.returncode == 2
    assert "'powr' is not accepted" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_clash_and_a_broken_plugin_hurt_only_their_own_names(site, tmp_path):
    crowded = tmp_path / "site"
    shutil.copytree(site, crowded)
    pretend(crowded, "rival", "[eva.models]\nedges = rival:edges\n", "edges = 1")
    pretend(crowded, "broken", "[eva.models]\nsnapped = broken:snapped\n", "import nothing_of_this_name")

    clash = eva(crowded, "models", "edges")
    assert clash.returncode == 2
    assert "claimed by eva-plugin-example 0.3.0 and rival 0.1" in clash.stderr
    snapped = eva(crowded, "models", "snapped")
    assert snapped.returncode == 2
    assert "'snapped' of broken 0.1 does not import (ModuleNotFoundError" in snapped.stderr
    assert eva(crowded, "models", "colour_stats").returncode == 0
    assert eva(crowded, "datasets", "stripes").returncode == 0
    unknown = eva(crowded, "models", "edgs")
    assert "Unknown model 'edgs'. Did you mean edges?" in unknown.stderr
