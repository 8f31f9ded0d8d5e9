"""Notebooks of the docs: run without Jupyter, and shown as pages.

`python docs/hooks/notebooks.py` runs `docs/notebooks/*.ipynb` again, and writes the outputs into them.
"""

import ast
import base64
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"
Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    """Read a notebook of format 4."""
    notebook: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def execute(notebook: Notebook, changes: dict[str, str] | None = None) -> Notebook:
    """Run the code cells of a notebook in one namespace, in an empty folder, and return it with their outputs.

    Args:
        notebook: The notebook.
        changes: Texts in the code, and what stands for them: other sizes, for a test.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, number = [], 0
    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                number += 1
                code = "".join(cell["source"])
                for text, other in (changes or {}).items():
                    code = code.replace(text, other)
                cell = {**cell, "execution_count": number, "outputs": _outputs(code, names, number)}
            cells.append(cell)
    return {**notebook, "cells": cells}


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _outputs(code: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Run a cell: what it prints, and the value of its last line where that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):  # progress is not part of a page
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        shown = {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": _shown(value)}
        outputs.append(shown)
    return outputs


def _shown(value: Any) -> dict[str, Any]:
    """The forms in which a value shows itself."""
    data: dict[str, Any] = {"text/plain": _lines(re.sub(" at 0x[0-9A-F]+>$", ">", repr(value)))}
    if hasattr(value, "_repr_html_"):
        data["text/html"] = _lines(value._repr_html_())
    if hasattr(value, "_repr_jpeg_"):  # pictures of tissue, for which PNG is several times as large
        data["image/jpeg"] = base64.b64encode(value._repr_jpeg_()).decode()
    return data


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def pages(docs: Path) -> dict[str, str]:
    """Write each notebook as a page in Markdown, by path below docs/."""
    return {f"notebooks/{path.stem}.md": page(read(path), path.name) for path in sorted(docs.glob("notebooks/*.ipynb"))}


def page(notebook: Notebook, name: str) -> str:
    """Write a notebook as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        parts += filter(None, map(_output, cell["outputs"]))
    return "\n\n".join([*parts, f"[Download this notebook]({name})"]) + "\n"


def _output(output: dict[str, Any]) -> str:
    """Show an output in its richest form: a picture, HTML, or text."""
    if output["output_type"] == "stream":
        return _text("".join(output["text"]))
    data = output["data"]
    if "image/jpeg" in data:
        return f'<img alt="output" src="data:image/jpeg;base64,{data["image/jpeg"]}">'
    if "text/html" in data:
        html = re.sub(r"\n\s*\n", "\n", "".join(data["text/html"]))  # a blank line would end the block
        return f'<div class="output">{html}</div>'
    return _text("".join(data["text/plain"]))


def _text(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def main(paths: list[Path]) -> None:
    """Run notebooks again, and write them."""
    for path in paths:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["EVA_CACHE"] = cache
            text = json.dumps(execute(read(path)), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")))
