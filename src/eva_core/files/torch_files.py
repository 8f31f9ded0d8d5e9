"""Files that `torch.save` wrote, read without running what they name."""

import argparse
import pathlib
import pickletools
import types
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from eva_core.errors import EvaError, some


class Held:
    """Stands for an object of a training script: it holds what was written, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take anything."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state


def _empty(*_: Any) -> dict[Any, Any]:
    """An empty dictionary, whatever it would have made up for keys that it lacks."""
    return {}


_NUMPY = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
_KINDS = (dict, list, tuple, str, int, float, bool, bytes, frozenset, slice, range)
_PLAIN: dict[str, Any] = {f"builtins.{kind.__name__}": kind for kind in _KINDS}
_PATHS = {f"{m}.{name}": pathlib.PurePosixPath for m in ("pathlib", "pathlib._local") for name in ("PosixPath", "Path")}
_DICTS = (
    *("lightning.fabric.utilities.data.AttributeDict", "lightning_fabric.utilities.data.AttributeDict"),
    *("pytorch_lightning.utilities.parsing.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict"),
    *("easydict.EasyDict", "addict.addict.Dict", "yacs.config.CfgNode", "fvcore.common.config.CfgNode"),
    *("ml_collections.config_dict.config_dict.ConfigDict",),
)
_CONFIGS = (
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata"),
    *("omegaconf.base.Metadata", "omegaconf.base.Node", "typing.Any"),
    *(
        f"omegaconf.nodes.{kind}Node"
        for kind in ("Any", "String", "Integer", "Float", "Boolean", "Enum", "Path", "Bytes")
    ),
)
INERT: dict[str, Any] = {
    **_PLAIN,
    **{f"{module}.multiarray.{k}": v for module in ("numpy.core", "numpy._core") for k, v in _NUMPY.items()},
    **{"numpy.dtype": np.dtype, "numpy.ndarray": np.ndarray},
    **{f"numpy.dtypes.{name}": getattr(np.dtypes, name) for name in np.dtypes.__all__},
    **_PATHS,
    **{f"pathlib.{name}": getattr(pathlib, name) for name in ("PurePath", "PurePosixPath", "PureWindowsPath")},
    **{f"pathlib{end}.WindowsPath": pathlib.PureWindowsPath for end in ("", "._local")},
    **{"argparse.Namespace": argparse.Namespace, "types.SimpleNamespace": types.SimpleNamespace},
    **dict.fromkeys(_DICTS, dict),
    "collections.defaultdict": _empty,
    **dict.fromkeys(_CONFIGS, Held),
}
"""What is read beside tensors, by the name under which it was written: it holds values and does nothing.

Training scripts keep their arguments and best scores beside the weights.
"""
_TORCH_S = ("torch.", "collections.OrderedDict", "collections.Counter", "_codecs.encode")
_PICKLES = 5
"""A file of old torch is a few pickles in a row, then bytes of tensors."""


class Refused(EvaError):
    """A file that names code, which would run as it is read."""


def load_torch(path: Path, mmap: bool = False) -> Any:
    """What `torch.save` wrote, with `weights_only=True`: tensors, numbers, texts, and what is in `INERT`.

    Args:
        path: The file.
        mmap: Leave tensors on the disk until they are used.
    Raises:
        Refused: It names code: says which.
        Exception: As torch raises it, where the file is cut short or no file of torch.
    """
    try:
        with torch.serialization.safe_globals([(thing, name) for name, thing in INERT.items()]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap or None)
    except Exception as error:
        foreign = foreign_names(path)
        if foreign:
            raise Refused(
                f"Refused {path}: it is a pickle that wants to run code ({some(foreign, 3)}). "
                "Ask its makers for safetensors or plain tensors."
            ) from error
        raise


def foreign_names(path: Path) -> list[str]:
    """Classes and functions that a pickle names and that are neither tensors nor inert."""
    names: list[str] = []
    with suppress(Exception), _pickle(path) as stream:  # cut short, or no pickle: the names before that count
        for _ in range(_PICKLES):
            names += _named(stream)
    return [name for name in dict.fromkeys(names) if name not in INERT and not name.startswith(_TORCH_S)]


def _pickle(path: Path) -> IO[bytes]:
    """The pickle of a file: in a zip archive of torch, or the file itself."""
    if not zipfile.is_zipfile(path):
        return path.open("rb")
    archive = zipfile.ZipFile(path)
    return archive.open(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def _named(stream: IO[bytes]) -> Iterator[str]:
    """Every global of one pickle, whatever its protocol."""
    texts: list[str] = []
    for code, value, _ in pickletools.genops(stream):
        if code.name in ("GLOBAL", "INST"):
            module, _, name = str(value).partition(" ")
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            yield f"{module}.{name}"
        elif code.name == "STACK_GLOBAL" and len(texts) > 1:
            yield f"{texts[-2]}.{texts[-1]}"
        elif isinstance(value, str) and "UNICODE" in code.name:
            texts.append(value)
