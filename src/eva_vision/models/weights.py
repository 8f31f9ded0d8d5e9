"""Weights from a file or a hub into a network, without ever running code that comes with them."""

import pickle
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, list_repo_files
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from eva_core.errors import EvaError, UsageError

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
        f"{what} {_some(keys)}"
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
    except pickle.UnpicklingError as error:
        raise EvaError(
            f"Refused {path}: it is a pickle that wants to run code. Ask its makers for safetensors or plain tensors."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise EvaError(
            f"Expected a file of weights, but {path} does not read ({str(error).splitlines()[0]})."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise EvaError(f"Expected tensors by name in {path}, but it holds something else.")
    return state


def _fetch(checkpoint: str) -> Path:
    """Download (or find in the cache) a file of a hub repository."""
    owner, _, rest = checkpoint.removeprefix(HUB).partition("/")
    name, _, file = rest.partition("/")
    repo = f"{owner}/{name}"
    try:
        if not file:
            held = list_repo_files(repo)
            file = next((f for f in HUB_FILES if f in held), "")
            if not file:
                raise EvaError(f"Expected one of {', '.join(HUB_FILES)} in {repo}. Name the file: {HUB}{repo}/FILE.")
        return Path(hf_hub_download(repo, file))
    except GatedRepoError as error:
        raise EvaError(
            f"{repo} is gated: ask for access at https://huggingface.co/{repo}, then set HF_TOKEN."
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EvaError(f"Cannot get {checkpoint} ({reason}). Check the name, the network and HF_TOKEN.") from error


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
