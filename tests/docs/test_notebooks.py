"""The notebooks of the docs: each cell runs, has the outputs of its own code, and is shown on a page."""

import json
import re
from pathlib import Path

import notebooks
import pytest

FILES = sorted(notebooks.FOLDER.glob("*.ipynb"))
SMALL = {
    "own_images": {"train=96, val=32, test=64, size=96": "train=16, val=8, test=16, size=32"},
    "own_slides": {"width=3072, height=2048": "width=1024, height=1536"},
}


def kinds(cell: dict) -> list[tuple[str, ...]]:
    """The forms of the outputs of a cell."""
    return [tuple(sorted(output.get("data", {"stream": ""}))) for output in cell["outputs"]]


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_two_for_images_and_for_slides():
    assert [path.stem for path in FILES] == [*SMALL]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_cell_runs_and_gives_outputs_of_the_stored_forms(path: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("EVA_CACHE", str(tmp_path))
    stored = notebooks.read(path)
    text = json.dumps(stored)
    for small in SMALL[path.stem]:
        assert json.dumps(small)[1:-1] in text
    executed = notebooks.execute(stored, SMALL[path.stem])
    assert [kinds(cell) for cell in code_cells(executed)] == [kinds(cell) for cell in code_cells(stored)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_stored_outputs_are_whole_and_small(path: Path):
    cells = code_cells(notebooks.read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert path.stat().st_size < 300_000
    assert "/tmp/" not in path.read_text()
    assert "synthetic" in "".join(notebooks.read(path)["cells"][0]["source"])


def test_a_page_shows_code_and_the_richest_form_of_each_output():
    data = {"text/plain": ["plain"], "text/html": ["<b>a</b>\n\n<i>b</i>"]}
    outputs = [
        {"output_type": "stream", "text": ["a < b\n"]},
        {"output_type": "execute_result", "data": data},
        {"output_type": "execute_result", "data": {"text/plain": ["(1, 2)"], "image/jpeg": "/9j/"}},
        {"output_type": "execute_result", "data": {"text/plain": ["42"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": outputs},
    ]
    page = notebooks.page({"cells": cells}, "a.ipynb")
    assert page.startswith("# Title\ntext\n\n```python\n1 + 1\n```\n\n```text\na < b\n```")
    assert '<div class="output"><b>a</b>\n<i>b</i></div>' in page
    assert "plain" not in page
    assert 'src="data:image/jpeg;base64,/9j/"' in page
    assert "```text\n42\n```" in page
    assert page.endswith("[Download this notebook](a.ipynb)\n")


def test_every_notebook_is_a_page_in_the_navigation():
    pages = notebooks.pages(notebooks.FOLDER.parent)
    navigation = (notebooks.FOLDER.parents[1] / "mkdocs.yml").read_text()
    assert {*pages} == {*re.findall(r"notebooks/\w+\.md", navigation)}
