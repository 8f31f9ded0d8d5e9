"""Hooks of mkdocs: pages that are made from cards, help texts, docstrings and configs, and their navigation.

They are made for what this package registers; other packages have documentation of their own.
"""

from pathlib import Path
from typing import Any

import dataset_pages
import reference_pages
from mkdocs.structure.files import File, Files

from eva_core import registry

PACKAGE = "eva-pathology"


def on_config(config: Any) -> Any:
    """Fill the places of the navigation that name an overview by the pages below it."""
    for item in config.nav:
        if "Datasets" in item:
            item["Datasets"] = dataset_pages.navigation(_ours(registry.datasets))
        if "Reference" in item:
            item["Reference"] = [*reference_pages.NAVIGATION, *item["Reference"]]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages; that of a dataset takes the place of its section written by hand."""
    sections = Path(config.docs_dir) / "datasets"
    made = dataset_pages.pages(_ours(registry.datasets), sections)
    for path, text in {**made, **reference_pages.pages(_ours(registry.commands))}.items():
        written = files.get_file_from_path(path)
        if written is not None:
            files.remove(written)
        files.append(File.generated(config, path, content=text))
    return files


def _ours(names: registry.Registry) -> list[registry.Entry]:
    return [entry for entry in names.entries() if entry.package == PACKAGE]
