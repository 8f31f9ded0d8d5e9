"""Runs that are finished before all are: kept in the folder of the result, so that a kill costs at most one run."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from eva_core.atomic_files import write_bytes
from eva_core.types import FittedRun


def keep(folder: Path, run: FittedRun, key: str) -> None:
    """Write a run down.

    Args:
        key: Of the result that it belongs to.
    """
    tensors = {f"{part}.{name}": v for part in ("params", "last") for name, v in getattr(run, part).items()}
    about = {"key": key, "value": json.dumps(run.selected_value), "selected": json.dumps(run.selected)}
    write_bytes(_file(folder, run.run), save(tensors, about))


def kept(folder: Path, run: int, key: str) -> FittedRun | None:
    """A run that an earlier call finished; None where there is none of this key, or it does not read."""
    try:
        with safe_open(_file(folder, run), "pt") as file:
            about = file.metadata()
            if about["key"] != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError, KeyError):
        return None
    params, last = (
        {name.removeprefix(part): v for name, v in tensors.items() if name.startswith(part)}
        for part in ("params.", "last.")
    )
    return FittedRun(run, params, last, json.loads(about["value"]), json.loads(about["selected"]))


def forget(folder: Path) -> None:
    """Remove them: the result holds what they were kept for."""
    for file in folder.glob("run*.safetensors"):
        file.unlink()


def _file(folder: Path, run: int) -> Path:
    return folder / f"run{run}.safetensors"
