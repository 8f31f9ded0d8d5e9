"""The rules of the house: imports run one way, and listing never pays for torch."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
FLOORS = {"eva_core": 0, "eva_vision": 1, "eva_pretrain": 2}
FILES = sorted(SRC.rglob("*.py"))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_never_run_backwards(path: Path):
    floor = FLOORS[path.relative_to(SRC).parts[0]]
    assert {name for name in imported(path) if FLOORS.get(name, -1) > floor} == set()


@pytest.mark.parametrize(
    "argv", [["--help"], ["--version"], ["models"], ["datasets"], ["heads"], ["completion", "bash"]]
)
def test_listing_does_not_import_torch(argv: list[str]):
    code = f"import sys; from eva_core.cli import main; assert main({argv}) == 0; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_packages_import_without_torch():
    code = "import sys, eva_core, eva_vision, eva_vision.models, eva_pretrain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
