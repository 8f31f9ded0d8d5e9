"""`bench/gpu.py` on a CPU: nothing may fail on a GPU for a typo, and a stage that hangs costs only itself."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import gpu
import pytest
from from_tree import write_metadata
from gpu_stages import STAGES, table
from gpu_stages.stage import Bench, run
from needs import needs, parse_pip_list

BENCH = Path(gpu.__file__)
DOCS = BENCH.parents[1] / "docs/gpu.md"


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess, Path]:
    """All stages in small."""
    output = tmp_path_factory.mktemp("dry")
    argv = [sys.executable, str(BENCH), "--dry", "--output", str(output)]
    return subprocess.run(argv, capture_output=True, text=True, cwd=output, env=without_install()), output


def without_install() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_every_row_of_every_stage_runs(dry):
    done, output = dry
    for letter in STAGES:
        found = json.loads((output / f"{letter}.json").read_text())
        assert "stopped" not in found, found["stopped"]
        assert list(found["rows"]) == list(table.stage_module(letter).ROWS)
        failed = {name: row for name, row in found["rows"].items() if "failed" in row or row.get("ok") is False}
        assert failed == {}
    assert done.returncode == 0, done.stderr


def test_the_table_comes_last_and_is_kept(dry):
    done, output = dry
    assert done.stdout == (output / "gpu.md").read_text()
    assert "no figure means anything" in done.stdout
    assert table.EMPTY not in done.stdout
    for letter in STAGES:
        assert f"### ({letter}) {table.stage_module(letter).TITLE}" in done.stdout


def test_the_page_has_the_rows_of_the_stages():
    page = DOCS.read_text(encoding="utf-8")
    for letter in STAGES:
        module = table.stage_module(letter)
        assert f"### ({letter}) {module.TITLE}" in page
        assert all(f"\n| {name} | " in page for name in module.ROWS)


def test_all_stages_together_stay_below_eight_minutes():
    assert sum(stage.limit_s for stage in STAGES.values()) <= 470


class Stage:
    """A stage with rows of one's own."""

    def __init__(self, **rows) -> None:
        self.ROWS = rows


def fails(bench: Bench) -> dict:
    raise ValueError("first line | with a bar\nsecond line")


def test_a_row_that_fails_costs_only_itself(tmp_path: Path):
    import torch

    bench = Bench(torch.device("cpu"), tmp_path, tmp_path, dry=False)
    run("x", Stage(bad=fails, good=lambda bench: {"value": 1.0}), bench, tmp_path / "x.json")
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert rows["bad"]["failed"] == "ValueError: first line | with a bar"
    assert rows["good"]["value"] == 1.0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import time; time.sleep(60)", "its 1 s were over"),
        ("import sys; sys.exit('no memory')", "exit code 1; no memory"),
    ],
)
def test_a_stage_that_hangs_or_dies_leaves_its_reason(tmp_path: Path, monkeypatch, code: str, reason: str):
    class Given:
        output, dry = tmp_path, True

    script = tmp_path / "stage.py"
    script.write_text(code)
    monkeypatch.setattr(gpu, "__file__", str(script))
    monkeypatch.setattr(gpu, "DRY_LIMIT_S", 1 if "sleep" in code else 30)
    (tmp_path / "a.json").write_text(json.dumps({"stage": "a", "machine": MACHINE, "rows": {}}))
    gpu.start("a", Given(), tmp_path, dict(os.environ))
    assert json.loads((tmp_path / "a.json").read_text())["stopped"] == reason
    text = table.markdown(tmp_path)
    assert f"Stopped: {reason}." in text
    assert table.EMPTY in text


MACHINE = {
    **{"measured": True, "device": "NVIDIA H100", "cores": 16, "torch": "2.11.0", "cuda": "13.0"},
    **{"python": "3.12.3", "date": "2026-11-27"},
}


@pytest.mark.parametrize(
    "text",
    [
        "Package Version\n------- -------\nnumpy   2.5.2\nPyYAML  6.0\ntimm  1.0.2\n",
        "numpy==2.5.2\nPyYAML==6.0\ntimm==1.0.2\n",
        json.dumps(
            [{"name": n, "version": v} for n, v in {"numpy": "2.5.2", "PyYAML": "6.0", "timm": "1.0.2"}.items()]
        ),
    ],
    ids=["columns", "freeze", "json"],
)
def test_needs_reads_what_pip_lists(text: str):
    there = parse_pip_list(text)
    assert there == {"numpy": "2.5.2", "pyyaml": "6.0", "timm": "1.0.2"}
    found = needs(there, ["numpy>=1.26", "pyyaml>=6.0", "timm>=1.0.16,<2"])
    assert found["timm"].endswith("(have 1.0.2, eva needs <2,>=1.0.16)")
    assert "numpy" not in found
    assert "torch" in found  # of timm


def test_needs_follows_extras_and_what_is_lacking_needs():
    found = needs({"jsonargparse": "99", "pyyaml": "6.0"}, ["jsonargparse[signatures]>=4.50", "rich>=13.7"])
    assert {"docstring-parser", "rich", "markdown-it-py", "mdurl"} <= found.keys()
    assert "jsonargparse" not in found


def test_the_tree_runs_by_its_path_alone(tmp_path: Path):
    write_metadata(tmp_path)
    code = "from importlib.metadata import entry_points, version; print(version('eva-pathology'))\n"
    code += "print(sorted(e.name for e in entry_points(group='eva.tasks')))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    stated = tomllib.loads((BENCH.parents[1] / "pyproject.toml").read_text())["project"]["entry-points"]["eva.tasks"]
    assert done.stdout.split("\n")[:2] == ["0.1.0", str(sorted(stated))]
