"""Hooks of mkdocs: pages generated from cards, help texts, docstrings and configs, and their navigation.

Pages are generated for the names that this package registers; other packages have documentation of their own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dataset_pages
import notebooks
import reference_pages
from mkdocs.structure.files import File, Files

from eva_core import registry

PACKAGE = "eva-pathology"


def on_config(config: Any) -> Any:
    """Fill the navigation below `Datasets` and `Reference` with the generated pages, wherever they stand."""
    for item in _sections(config.nav):
        if "Datasets" in item:
            item["Datasets"] = dataset_pages.navigation(_ours(registry.datasets))
        if "Reference" in item:
            item["Reference"] = [*reference_pages.NAVIGATION, *item["Reference"]]
    return config


def _sections(nav: list[Any]) -> Iterator[dict[str, Any]]:
    """List the entries of a navigation with those below them, the inner ones first."""
    for item in nav:
        if isinstance(item, dict):
            for below in item.values():
                if isinstance(below, list):
                    yield from _sections(below)
            yield item


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; the page of a dataset replaces its section that is written by hand."""
    sections = Path(config.docs_dir) / "datasets"
    generated_pages = dataset_pages.pages(_ours(registry.datasets), sections)
    generated_pages |= reference_pages.pages(_ours(registry.commands)) | notebooks.pages(Path(config.docs_dir))
    for path, text in generated_pages.items():
        handwritten = files.get_file_from_path(path)
        if handwritten is not None:
            files.remove(handwritten)
        files.append(File.generated(config, path, content=text))
    return files


def _ours(names: registry.Registry) -> list[registry.Entry]:
    return [entry for entry in names.entries() if entry.package == PACKAGE]
