"""The rules of the house: imports run one way, files stay small and have a test each, listing needs no torch."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SRC = TESTS.parent / "src"
FLOORS = {"eva_core": 0, "eva_vision": 1, "eva_pretrain": 2}
FILES = sorted(SRC.rglob("*.py"))
ORDER = {
    "eva_core": "files contracts hub statistics store evaluation extraction results config reports classification "
    "verification curves boards commands",
    "eva_vision": "slides segmentation heads regression multilabel slide_level models synthetic robustness "
    "datasets hub shifts",
    "eva_vision/segmentation": "features decoders scoring",
    "eva_vision/slide_level": "bags pictures survival regression classification heads",
    "eva_vision/slides": "reading",
    "eva_pretrain": "augment network losses data optimisation methods monitor run studies",
}
"""Folders from the ground up: files of one import from those before it, never from those after it."""
HDF5 = {
    "eva_core/store",
    "eva_vision/datasets/published_hdf5.py",  # PatchCamelyon and HEST-bench are published as HDF5 files
}


def rooms(path: Path) -> str:
    """The path of a source file below `src`."""
    return path.relative_to(SRC).as_posix()


def imports(node: ast.AST) -> Iterator[str]:
    """Dotted names that are imported, but for those that only type checkers see: they make no circle when run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from imports(child)


@cache
def arrows() -> dict[str, set[str]]:
    """What each source file imports of ours: files below `src`, by file."""
    names = {rooms(p).removesuffix(".py").removesuffix("/__init__").replace("/", "."): rooms(p) for p in FILES}
    found: dict[str, set[str]] = {}
    for path in FILES:
        dotted = set(imports(ast.parse(path.read_text(encoding="utf-8"))))
        ours = {names.get(name) or names.get(name.rpartition(".")[0], "") for name in dotted}
        found[rooms(path)] = ours - {"", rooms(path)}
    return found


@pytest.mark.parametrize("path", FILES, ids=rooms)
def test_imports_never_run_backwards(path: Path):
    """Those that only type checkers see included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    floor = FLOORS[path.relative_to(SRC).parts[0]]
    assert {name for name in modules if FLOORS.get(name.partition(".")[0], -1) > floor} == set()


def test_no_files_import_each_other():
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_the_order_of_folders_names_each():
    folders = {rooms(path.parent) for path in FILES if len(path.relative_to(SRC).parts) > 2}
    assert {f"{parent}/{name}" for parent, names in ORDER.items() for name in names.split()} == folders


@pytest.mark.parametrize("parent", ORDER)
def test_folders_import_from_those_below_them(parent: str):
    level = {f"{parent}/{name}/": number for number, name in enumerate(ORDER[parent].split())}

    def at(file: str) -> int:
        return next((number for folder, number in level.items() if file.startswith(folder)), -1)

    upwards = [(a, b) for a, files in arrows().items() for b in files if -1 < at(a) < at(b)]
    assert upwards == []


def test_at_most_two_folders_below_a_package():
    assert [rooms(path) for path in FILES if len(path.relative_to(SRC).parts) > 4] == []


def test_files_and_functions_stay_small():
    long = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > 400:
            long.append(f"{rooms(path)} has {lines} lines, more than 400")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > 60:
                    long.append(f"{node.name} in {rooms(path)} has {lines} lines, more than 60")
    assert long == []


def test_only_the_store_knows_hdf5():
    knowing = [p for p in FILES if any(n.split(".")[0] == "h5py" for n in imports(ast.parse(p.read_text("utf-8"))))]
    assert {rooms(p) for p in knowing if not {rooms(p), rooms(p.parent)} & HDF5} == set()


def test_the_core_names_no_other_kind_of_task():
    kinds = re.compile("segment|mask|dice", re.IGNORECASE)
    core = [path for path in FILES if rooms(path).startswith("eva_core/")]
    assert [rooms(path) for path in core if kinds.search(path.read_text(encoding="utf-8"))] == []


def has_its_test(path: Path) -> bool:
    mirrored = TESTS / rooms(path.parent).removeprefix("eva_") / f"test_{path.name}"
    return mirrored.is_file() and re.search(r"^ *def test_", mirrored.read_text("utf-8"), re.MULTILINE) is not None


def test_each_module_has_a_test_file_of_its_own():
    """For `src/eva_core/store/writer.py` it is `tests/core/store/test_writer.py`, with one test at least."""
    modules = [path for path in FILES if path.name != "__init__.py"]
    assert [rooms(path) for path in modules if not has_its_test(path)] == []


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
