"""Weights from a file, a hub or a release into a network, without ever running code that comes with them."""

import hashlib
import pickle
import re
import textwrap
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import huggingface_hub.constants
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id
from safetensors.torch import load_file
from torch import Tensor, nn

from eva_core.cache import cache_root, locked
from eva_core.errors import EvaError, UsageError, some
from eva_core.progress import say
from eva_vision.download import fetch

HUB = "hf-hub:"
RELEASE = ("https://", "http://")
WRAPPERS = ("state_dict", "model", "teacher")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")

State = dict[str, Tensor]
Convert = Callable[[State], State]


def load_weights(
    network: nn.Module, checkpoint: str, classifier: tuple[str, ...] = (), convert: Convert | None = None
) -> dict[str, str]:
    """Load a checkpoint; every key must fit.

    Args:
        checkpoint: A path, `hf-hub:owner/name[@revision][/file]`, or the `https://...[#md5=...]` of a file that is
            fetched once, into `weights` in the cache; `sha256` checks it as well.
        classifier: Names of classifier layers, whose keys are dropped.
        convert: From the key names of the file to those of the network.
    Returns:
        Where they came from: `source`, `revision` (the hub's commit, else "unknown") and `file_sha256`.
    Raises:
        EvaError: Missing, unexpected or misshapen keys (names them), or a pickle that wants to run code.
    """
    path = _find(checkpoint)
    state = read_state_dict(path)
    if convert is not None:
        state = convert(state)
    state = {k: v for k, v in state.items() if not any(k.startswith(f"{layer}.") for layer in classifier)}
    wanted = network.state_dict()
    misshapen = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in sorted(wanted.keys() & state.keys())
        if state[k].shape != wanted[k].shape
    ]
    problems = [
        f"{what} {some(keys)}"
        for what, keys in (
            ("missing", sorted(wanted.keys() - state.keys())),
            ("unexpected", sorted(state.keys() - wanted.keys())),
            ("misshapen", misshapen),
        )
        if keys
    ]
    if problems:
        raise EvaError(f"Expected weights that fit the architecture, but {checkpoint} does not: {'; '.join(problems)}.")
    network.load_state_dict(state)
    return provenance(checkpoint.partition("#")[0], path)


def provenance(source: str, path: Path) -> dict[str, str]:
    """Where weights came from, for the record. The hub's cache names snapshots by commit and large files by SHA-256."""
    snapshot = re.search("/models--[^/]+/snapshots/([^/]+)/", path.as_posix()) if source.startswith(HUB) else None
    sha256 = path.resolve().name if snapshot else ""
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        with path.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"source": source, "revision": snapshot[1] if snapshot else "unknown", "file_sha256": sha256}


def held_by_hub_cache(repo: str, revision: str = "") -> Path | None:
    """The file of weights that the hub's cache has of a repository, the one that timm takes first."""
    held = (try_to_load_from_cache(repo, file, revision=revision or None) for file in HUB_FILES)
    return next((Path(path) for path in held if isinstance(path, str)), None)


def read_state_dict(path: Path) -> State:
    """Tensors by name from a safetensors file, or a torch file read with `weights_only=True`.

    Raises:
        UsageError: No such file.
        EvaError: Not a file of weights, or one that wants to run code.
    """
    if not path.is_file():
        raise UsageError(f"Expected a file of weights, but {path} does not exist.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch fails in many ways on a file that is cut short, or is no file of weights
        reason = str(error).rpartition("WeightsUnpickler error: ")[2]
        if isinstance(error, pickle.UnpicklingError) and ("global" in reason or "function" in reason):
            raise EvaError(
                f"Refused {path}: it is a pickle that wants to run code. "
                "Ask its makers for safetensors or plain tensors."
            ) from error
        raise EvaError(
            f"Expected a file of weights, but {path} does not read ({one_line(reason, error)}). "
            "It may be cut short: get it again, as safetensors or as a torch file of plain tensors."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise EvaError(f"Expected tensors by name in {path}, but it holds something else.")
    return state


def one_line(reason: str, error: Exception) -> str:
    """The beginning of an error's text in one line, or its type where it has none."""
    return textwrap.shorten(reason, 300, placeholder=" ...").rstrip(".") or type(error).__name__


def gated(repo: str) -> str:
    """What to do about a repository behind a form."""
    return f"{repo} is gated: ask for access at https://huggingface.co/{repo}, then set HF_TOKEN."


def _find(checkpoint: str) -> Path:
    if checkpoint.startswith(HUB):
        return _from_hub(checkpoint)
    return _from_release(checkpoint) if checkpoint.startswith(RELEASE) else Path(checkpoint)


def _from_hub(checkpoint: str) -> Path:
    """Download (or find in the cache) a file of a hub repository."""
    owner, _, rest = checkpoint.removeprefix(HUB).partition("/")
    name, _, file = rest.partition("/")
    name, _, at = name.partition("@")
    repo, revision = f"{owner}/{name}", at or None
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"Expected {HUB}owner/name or {HUB}owner/name/file, but got {checkpoint!r}.") from error
    # What the cache has goes first: then nothing needs the network.
    held = sorted(
        HUB_FILES, key=lambda f: not file and not isinstance(try_to_load_from_cache(repo, f, revision=revision), str)
    )
    for wanted in [file] if file else held:
        try:
            return Path(hf_hub_download(repo, wanted, revision=revision))
        except GatedRepoError as error:
            raise EvaError(gated(repo)) from error
        except Exception as error:  # the hub's client lets its HTTP library's errors through
            if file or isinstance(error, LocalEntryNotFoundError) or not isinstance(error, EntryNotFoundError):
                reason = one_line(str(error), error)
                raise EvaError(
                    f"Cannot get {checkpoint} ({reason}). Check the name, the network and HF_TOKEN."
                ) from error
    raise EvaError(f"Expected one of {', '.join(HUB_FILES)} in {repo}. Name the file: {HUB}{repo}/FILE.")


def _from_release(checkpoint: str) -> Path:
    """Download (or find in our cache) a file that somebody published under a URL."""
    url, _, checksum = checkpoint.partition("#")
    if checksum and not re.fullmatch("(md5|sha256)=[0-9a-f]+", checksum):
        raise UsageError(
            f"Expected #md5=... or #sha256=... after {url}, but got {checksum!r}. Correct it or leave it out."
        )
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", PurePosixPath(urlsplit(url).path).name)
    path = cache_root() / "weights" / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    if huggingface_hub.constants.HF_HUB_OFFLINE and not path.exists():
        raise EvaError(
            f"Expected {path}, as HF_HUB_OFFLINE is set, but it does not exist. Put the file of {url} there."
        )
    with locked(path, say):
        fetch(url, path, checksum.replace("=", ":") or None)
    return path
