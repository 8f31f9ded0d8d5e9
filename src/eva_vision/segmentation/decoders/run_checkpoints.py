"""Runs that are finished before all are: kept in the folder of the result, so that a kill costs at most one run."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from eva_core.contracts.head import FittedRun
from eva_core.files.atomic_files import write_bytes
from eva_core.results.record import tensors_metadata


def write_run(folder: Path, run: FittedRun, key: str) -> None:
    """Write a finished run into the folder of its result.

    Args:
        folder: The folder of the result.
        run: The run, with its parameters.
        key: Key of the result that the run belongs to.
    """
    tensors = {f"{part}.{name}": v for part in ("params", "last") for name, v in getattr(run, part).items()}
    about = {"key": key, "value": json.dumps(run.selected_value), "selected": json.dumps(run.selected)}
    write_bytes(_file(folder, run.run), save(tensors, {**about, "sha256": _digest(tensors, about)}))


def read_run(folder: Path, run: int, key: str) -> FittedRun | None:
    """Read a run that an earlier call finished; None where there is none of this key, or it is damaged."""
    try:
        content = _file(folder, run).read_bytes()
        tensors, about = load(content), tensors_metadata(content)
        digest = about.pop("sha256")
    except Exception:  # of a damaged file, the library raises many kinds
        return None
    if about.get("key") != key or digest != _digest(tensors, about):
        return None
    params, last = (
        {name.removeprefix(part): v for name, v in tensors.items() if name.startswith(part)}
        for part in ("params.", "last.")
    )
    return FittedRun(run, params, last, json.loads(about["value"]), json.loads(about["selected"]))


def remove_runs(folder: Path) -> None:
    """Remove the runs that were kept for a restart: the result holds them all."""
    for file in folder.glob("run*.safetensors"):
        with suppress(OSError):  # the result of another user
            file.unlink()


def _file(folder: Path, run: int) -> Path:
    return folder / f"run{run}.safetensors"


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
