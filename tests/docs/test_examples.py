"""The examples of docs/cluster.md: shell that runs, YAML that loads, and commands that eva takes."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from eva_core.boards.board import Board, check, pairs, read_board
from eva_core.commands import leaderboard
from eva_core.config.parser import parse
from eva_core.errors import UsageError

HOME = Path(__file__).parents[2]
ARRAY = HOME / "docs/examples/board_array.sh"
RAY = HOME / "docs/examples/board_ray.yaml"
PAGE = HOME / "docs/cluster.md"


def accepted(words: list[str]) -> dict[str, object]:
    """What `eva leaderboard` reads from a command line; a wrong one ends the test."""
    assert words[:2] == ["eva", "leaderboard"]
    return vars(leaderboard._parser().parse_args(words[2:]))


def submitted(tmp_path: Path, **variables: str) -> tuple[Board, Path]:
    """Run the script as SLURM does, with an eva that only notes its arguments; returns the board and its output."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    eva = tmp_path / "bin/eva"
    eva.write_text('#!/bin/sh\necho "eva $*"\n')
    eva.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if name not in ("DATA_ROOT", "OUTPUT", "PAGE")}
    env = {**inherited, "PATH": f"{eva.parent}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path), **variables}
    done = subprocess.run(["bash", str(ARRAY)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    given = accepted(shlex.split(done.stdout))
    board = read_board(str(given["config"]))
    check(board)
    return board, Path(str(given["output"]))


def directives() -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", ARRAY.read_text(), re.MULTILINE))


def test_each_task_of_the_array_has_a_model_of_its_own_and_the_page_has_them_all(tmp_path, monkeypatch):
    subprocess.run(["bash", "-n", str(ARRAY)], check=True)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    first, last = directives()["array"].split("-")
    tasks = [submitted(tmp_path, SLURM_ARRAY_TASK_ID=str(n)) for n in range(int(first), int(last) + 1)]
    page, output = submitted(tmp_path, SLURM_ARRAY_TASK_ID="0", PAGE="1")
    models = [model.name for board, _ in tasks for model in board.models]
    assert [model.name for model in page.models] == ["colour_stats", *models]
    assert len(set(models)) == len(tasks)
    folders = {pair.folder for board, where in tasks for pair in pairs(board, where)}
    left = {pair.folder for pair in pairs(page, output)} - folders
    assert {folder.name.split("-")[0] for folder in left} == {"colour_stats"}  # the page finds what the tasks made
    assert len(folders) == len(tasks) * len(page.tasks)


def test_the_directives_are_those_of_sbatch():
    known = {"job-name", "array", "gres", "cpus-per-task", "mem", "time", "output"}
    assert directives().keys() == known


@pytest.fixture
def job() -> dict:
    return yaml.safe_load(RAY.read_text())


def test_the_job_is_one_of_kuberay_and_its_command_is_taken(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    given = accepted(shlex.split(job["spec"]["entrypoint"]))
    assert given["engine"] == "ray"
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    limits = worker["resources"]["limits"]
    assert given["gpus"] <= float(limits["nvidia.com/gpu"])  # else a pair would wait for ever
    assert given["cpus"] <= float(limits["cpu"])


def test_all_machines_see_the_same_folders(job):
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    seen = []
    for pod in pods:
        spec = pod["template"]["spec"]
        (container,) = spec["containers"]
        (mount,) = container["volumeMounts"]
        assert mount["name"] == spec["volumes"][0]["name"]
        for variable in container["env"]:
            assert variable["value"].startswith(mount["mountPath"])
        seen.append((container["image"], container["env"], mount, spec["volumes"]))
    assert seen[0] == seen[1]
    output = accepted(shlex.split(job["spec"]["entrypoint"]))["output"]
    assert str(output).startswith(seen[0][2]["mountPath"])


def commands(page: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line.split(" #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_the_commands_of_the_page_are_taken(monkeypatch, tmp_path):
    lines = commands(PAGE.read_text())
    boards = [shlex.split(line) for line in lines if line.startswith("eva leaderboard")]
    assert len(boards) == 1
    assert accepted(boards[0])["address"] == "FIRST:6379"
    (fit,) = [line for line in lines if line.startswith("docker run")]
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    words = shlex.split(fit.partition(" eva fit ")[2])
    with pytest.raises(
        UsageError, match=r"Expected ICIAR2018_BACH_Challenge"
    ):  # all was taken, and its data looked for
        parse("fit", words)
    with pytest.raises(UsageError, match="no_such_flag"):
        parse("fit", [*words, "--no_such_flag", "1"])
    sbatch = [line for line in lines if "sbatch" in line]
    assert all(any(word.endswith("board_array.sh") for word in re.split(r"[\s)]+", line)) for line in sbatch)


def test_the_build_arguments_of_the_page_are_those_of_the_dockerfile():
    arguments = re.findall(r"^ARG (\w+)", (HOME / "Dockerfile").read_text(), re.MULTILINE)
    text = PAGE.read_text()
    assert set(re.findall(r"^\| `([A-Z]+)` \|", text, re.MULTILINE)) == set(arguments)
    assert set(re.findall(r"--build-arg (\w+)=", text)) <= set(arguments)
