"""A third-party package, installed for real, through the command line."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from eva_core import cli

PLUGIN = Path(__file__).parent / "plugin_example"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "timm", "eva_core.api", "eva_core.boards.run", "eva_vision.segmentation.task"])
"""Commands start in forks of a process that has imported what takes seconds."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin pip-installed into it."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(PLUGIN, source)
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True)
    return target


def eva(site: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own that finds the packages of a folder."""
    said = [site.parent / name for name in ("stdout", "stderr")]
    process = FORKS.Process(target=command, args=(site, argv, dict(os.environ), said))
    process.start()
    process.join()
    return subprocess.CompletedProcess(argv, process.exitcode or 0, *(path.read_text() for path in said))


def command(site: Path, argv: Sequence[str], environment: dict[str, str], said: Sequence[Path]) -> None:
    """Be the process of a command."""
    os.environ.clear()
    os.environ.update(environment, PYTHONPATH=str(site))
    sys.path.insert(0, str(site))
    for number, path in enumerate(said, start=1):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    sys.exit(cli.main(list(argv)))


def pretend(site: Path, package: str, entries: str, code: str) -> None:
    """A second package on the path, down to what the registry reads."""
    info = site / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\nSummary: x\n")
    (info / "entry_points.txt").write_text(entries)
    (site / f"{package}.py").write_text(code)


def test_its_names_are_listed_with_its_package(site):
    env = {**os.environ, "PYTHONPATH": str(site)}
    real = subprocess.run([sys.executable, "-m", "eva_core.cli", "models"], capture_output=True, text=True, env=env)
    assert real.stdout == eva(site, "models").stdout
    assert any(line.split()[0] == "edges" and "MIT" in line for line in eva(site, "models").stdout.splitlines()[1:])
    assert "stripes" in eva(site, "datasets").stdout
    heads = eva(site, "heads").stdout
    assert "nearest_mean" in heads
    assert "smooth_seg" in heads
    assert "licence        MIT" in eva(site, "models", "edges").stdout


def test_its_model_dataset_and_head_are_evaluated_together(site, tmp_path):
    flags = ["--model", "edges", "--model.power", "2", "--dataset", "stripes", "--dataset.n", "48", "--workers", "0"]
    flags += ["--protocol.steps", "50", "--protocol.runs", "2"]
    done = eva(site, "fit", *flags, "--head", "nearest_mean", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["identity"]["model"] == "edges"
    assert results["identity"]["head"] == "nearest_mean"
    assert results["identity"]["protocol"] == "eva-0.4+head=nearest_mean+runs=2+steps=50"
    assert results["main"]["mean"] > 0.9
    assert "synthetic" in done.stdout


def test_its_head_for_masks_is_evaluated_with_its_model(site, tmp_path):
    data = ["--dataset", "phantom_nuclei", "--dataset.train", "4", "--dataset.val", "1", "--dataset.test", "2"]
    rules = ["--protocol", "eva-0.4-offline", "--protocol.segmentation.steps", "4", "--protocol.runs", "1"]
    flags = ["--model", "edges", *data, "--dataset.size", "48", *rules, "--workers", "0"]
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


def test_its_kind_of_task_goes_through_every_command(site, tmp_path):
    """A whole kind of task in one package: nothing of eva knows of it."""
    data = ["--dataset", "tinted", "--dataset.n", "48", "--protocol", "strict", "--workers", "0"]
    for model in ("edges", "colour_stats"):
        done = eva(site, "fit", "--model", model, *data, "--output", str(tmp_path / model))
        assert done.returncode == 0, done.stderr
        assert "mean absolute error" in done.stdout
    edges, colour = (json.loads((tmp_path / m / "results.json").read_text()) for m in ("edges", "colour_stats"))
    assert (colour["task"], colour["main"]["metric"], colour["main"]["bounds"]) == ("regression", "r2", [None, 1.0])
    assert colour["main"]["mean"] > 0.9 > edges["main"]["mean"]
    page = (tmp_path / "edges" / "report.html").read_text()
    assert '"kind":"scatter","title":"Values"' in page
    assert "could not be made" not in done.stderr
    assert colour["main"]["ci95"][1] <= 1
    assert edges["identity"]["head"] == "image_ridge"
    again = eva(site, "fit", "--model", "edges", *data, "--output", str(tmp_path / "edges"))
    assert "Already done" in again.stderr
    rules = ["--protocol.regression.strengths", "[5]"]
    other = eva(site, "fit", "--model", "edges", *data, *rules, "--output", str(tmp_path / "edges"))
    assert other.returncode == 2
    assert "protocol_settings.regression default" in other.stderr

    said = eva(site, "compare", str(tmp_path / "colour_stats"), str(tmp_path / "edges"), "--metric", "mae")
    assert said.returncode == 0, said.stderr
    assert "edges has the higher mae than colour_stats" in said.stdout
    applied = eva(
        site, "predict", "--head", str(tmp_path / "edges"), "--output", str(tmp_path / "applied"), "--workers", "0"
    )
    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.strip().endswith("predictions.parquet")


def test_a_board_of_several_kinds_ranks_each_its_own_way(site, tmp_path):
    for name, dataset in (
        ("tinted", {"class_path": "tinted", "init_args": {"n": 48, "metric": "mae"}}),
        ("stripes", "stripes"),
    ):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"dataset": dataset}))
    quick = {"steps": 50, "runs": 2}
    names = ("tinted", "stripes")
    tasks = [{"name": name, "config": str(tmp_path / f"{name}.yaml"), "protocol": quick} for name in names]
    board = {"models": ["edges", "colour_stats"], "tasks": tasks, "protocol": "eva-0.4"}
    (tmp_path / "board.yaml").write_text(json.dumps(board))
    run = ["--config", str(tmp_path / "board.yaml"), "--output", str(tmp_path / "board"), "--workers", "0"]
    done = eva(site, "leaderboard", *run)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert '"lower":true' in page
    lines = (tmp_path / "board" / "leaderboard.md").read_text().splitlines()
    ranked = [line for line in lines if line.startswith("|") and ("colour_stats" in line or "edges" in line)]
    assert len(ranked) == 2
    assert "–" in ranked[0] or "-" in ranked[0].split("|")[-4]  # no average of an error and a share
    comparisons = json.loads((tmp_path / "board" / "comparisons.json").read_text())
    assert comparisons["tests"] == 2
