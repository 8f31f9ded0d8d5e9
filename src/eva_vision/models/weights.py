"""Weights from a file or a hub into a network, without ever running code that comes with them."""

import pickle
import textwrap
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id
from safetensors.torch import load_file
from torch import Tensor, nn

from eva_core.errors import EvaError, UsageError, some

HUB = "hf-hub:"
WRAPPERS = ("state_dict", "model")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def load_weights(network: nn.Module, checkpoint: str, classifier: tuple[str, ...] = ()) -> None:
    """Load a checkpoint; every key must fit.

    Args:
        checkpoint: A path, or `hf-hub:owner/name[/file]`.
        classifier: Names of classifier layers, whose keys are dropped.
    Raises:
        EvaError: Missing, unexpected or misshapen keys (names them), or a pickle that wants to run code.
    """
    state = read_state_dict(_fetch(checkpoint) if checkpoint.startswith(HUB) else Path(checkpoint))
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


def read_state_dict(path: Path) -> dict[str, Tensor]:
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


def _fetch(checkpoint: str) -> Path:
    """Download (or find in the cache) a file of a hub repository."""
    owner, _, rest = checkpoint.removeprefix(HUB).partition("/")
    name, _, file = rest.partition("/")
    repo = f"{owner}/{name}"
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"Expected {HUB}owner/name or {HUB}owner/name/file, but got {checkpoint!r}.") from error
    # What the cache has goes first: then nothing needs the network.
    held = sorted(HUB_FILES, key=lambda f: not file and not isinstance(try_to_load_from_cache(repo, f), str))
    for wanted in [file] if file else held:
        try:
            return Path(hf_hub_download(repo, wanted))
        except GatedRepoError as error:
            raise EvaError(gated(repo)) from error
        except Exception as error:  # the hub's client lets its HTTP library's errors through
            if file or isinstance(error, LocalEntryNotFoundError) or not isinstance(error, EntryNotFoundError):
                reason = one_line(str(error), error)
                raise EvaError(
                    f"Cannot get {checkpoint} ({reason}). Check the name, the network and HF_TOKEN."
                ) from error
    raise EvaError(f"Expected one of {', '.join(HUB_FILES)} in {repo}. Name the file: {HUB}{repo}/FILE.")
