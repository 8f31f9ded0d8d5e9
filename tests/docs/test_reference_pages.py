"""The generated reference: every command, setting and config; the page of environment variables misses none."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import reference_pages

from eva_core import registry
from eva_core.cli import SUMMARIES

HOME = Path(__file__).parents[2]
PAGE = HOME / "docs/reference/environment.md"
READING = {"get", "pop", "setdefault", "getenv"}


def words(line: str, command: str) -> registry.Entry:
    """A command that prints a line for `--help`."""
    return registry.Entry(command, "", "eva-pathology", "1", "", lambda argv: print(f"{line} {' '.join(argv)}"))


def test_each_command_is_shown_with_its_help_and_that_of_what_is_below_it():
    below, alone = words("usage: eva toy {first,second} [...]", "toy"), words("usage: eva fit", "fit")
    page = reference_pages.commands((below, alone))
    assert page.index("## eva fit\n\nExtract embeddings") < page.index("## eva toy")
    assert "### eva toy first\n\n```text\nusage: eva toy {first,second} [...] first --help\n```" in page
    assert "### eva toy second" in page


def test_every_command_is_told_in_a_sentence():
    ours = {entry.name for entry in registry.commands.entries() if entry.package == "eva-pathology"}
    assert ours == SUMMARIES.keys()


def test_every_setting_has_a_row_with_type_default_and_meaning():
    page = reference_pages.settings()
    parts = re.split(r"^### (.+)$", page, flags=re.MULTILINE)[1:]
    row = re.compile(r"^\| `(\w+)` \| `(.+?)` \| (.+?) \| (.*) \|$", re.MULTILINE)
    found = {
        f"{part}.{n}": more
        for part, body in zip(parts[::2], parts[1::2], strict=True)
        for n, *more in row.findall(body)
    }
    assert found["protocol.steps"][:2] == ["int", "`12500`"]
    assert found["protocol.segmentation.stitch"][:2] == ["bool", "`true`"]
    assert found["protocol.selection"][:2] == ["heldout | holdout", "`heldout`"]
    assert {"recipe.steps", "data.batch_size", "export.weights", "Extraction.device"} <= found.keys()
    assert [name for name, (_, _, meaning) in found.items() if not meaning] == []
    assert len(found) == len(re.findall(r"^\| `", page, re.MULTILINE))


def test_every_config_is_shown(tmp_path: Path):
    page = reference_pages.configs(HOME / "configs")
    for file in (HOME / "configs").rglob("*.yaml"):
        assert f"### {file.stem}\n" in page
        assert file.read_text().strip() in page
    assert {path.name for path in (HOME / "configs").iterdir()} == reference_pages.FOLDERS.keys()


def constants(tree: ast.Module) -> dict[str, str]:
    """Texts by the name that a module gives them."""
    named = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    return {target.id: n.value.value for n in named for target in n.targets if isinstance(target, ast.Name)}


def variables(file: Path) -> Iterator[str]:
    """Names of the environment variables that a file reads or sets."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = constants(tree)
    for node in ast.walk(tree):
        keys: list[ast.expr] = []
        if isinstance(node, ast.Subscript) and about_environment(node.value):
            keys = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READING:
            keys = node.args[:1] if about_environment(node.func.value) or node.func.attr == "getenv" else []
        elif isinstance(node, ast.Compare) and any(map(about_environment, node.comparators)):
            keys = [node.left]
        for key in keys:
            if isinstance(key, ast.Constant):
                yield key.value
            elif isinstance(key, ast.Name) and key.id in named:
                yield named[key.id]


def about_environment(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def test_the_page_of_environment_variables_misses_none_and_has_none_that_is_gone():
    code = [*(HOME / "src").rglob("*.py"), *(HOME / "tests").rglob("*.py"), *(HOME / "bench").rglob("*.py")]
    read = {name for file in code if file.is_relative_to(HOME / "src") for name in variables(file)}
    read |= {name for file in code for name in variables(file) if name.startswith("EVA_")}
    read |= {n for f in (HOME / "configs").rglob("*.yaml") for n in re.findall(r"oc\.env:(\w+)", f.read_text())}
    told, libraries = PAGE.read_text(encoding="utf-8").split("Libraries below eva")
    libraries, tests = libraries.split("The tests read")
    rows = {
        name for row in re.findall(r"^\| (`[^|]+) \|", told + tests, re.MULTILINE) for name in re.findall(r"\w+", row)
    }
    assert rows == read


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('import os\nos.environ["A_B"]', {"A_B"}),
        ('import os\nos.environ.get("A_B", "x")', {"A_B"}),
        ('import os\nX = "A_B"\nos.environ.pop(X)', {"A_B"}),
        ('import os\n"A_B" not in os.environ', {"A_B"}),
        ('given = {}\ngiven.get("A_B")', set()),
    ],
)
def test_the_scan_knows_each_way_to_read_a_variable(text: str, found: set[str], tmp_path: Path):
    (tmp_path / "a.py").write_text(text)
    assert set(variables(tmp_path / "a.py")) == found
