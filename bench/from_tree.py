"""Run eva from the source tree, without an install: prints a PYTHONPATH with the sources and their metadata.

    export PYTHONPATH="$(python bench/from_tree.py)"
    python -m eva_core.cli doctor

Models, datasets, heads and commands are entry points, which Python finds in the metadata of an installed package. This
metadata is written to a folder of its own, from `pyproject.toml`.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def write_metadata(folder: Path) -> None:
    """Write the `.dist-info` of an install: name, version and entry points."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(header, encoding="utf-8")
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


def python_path(folder: Path) -> str:
    """Build a PYTHONPATH of the sources, the metadata in `folder`, and the present PYTHONPATH."""
    write_metadata(folder)
    return os.pathsep.join([str(ROOT / "src"), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


if __name__ == "__main__":
    sys.stdout.write(python_path(Path(tempfile.mkdtemp(prefix="eva-from-tree-"))) + "\n")
