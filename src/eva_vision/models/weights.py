"""Weights from a file, a hub or a release into a network, without ever running code that comes with them."""

import hashlib
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Set
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import huggingface_hub.constants
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor, nn

from eva_core.errors import EvaError, UsageError, some
from eva_core.files.addresses import public_address
from eva_core.files.cache import cache_root, locked
from eva_core.files.torch_files import Refused, load_torch
from eva_core.hub.weight_files import HUB, HUB_FILES, RELEASE, hub_file, release_path, split_checksum
from eva_core.progress import say
from eva_vision.download import fetch
from eva_vision.impostors import faulty_weights
from eva_vision.models.checkpoint_states import Candidate, State, candidates, states

Convert = Callable[[State], State]


def load_weights(
    network: nn.Module,
    checkpoint: str,
    classifier: tuple[str, ...] = (),
    convert: Convert | None = None,
    key: str | None = None,
) -> dict[str, str]:
    """Load a checkpoint; every key must fit, once a prefix that all of them have is cut off.

    Of several networks in a file, a moving average (teacher, EMA) goes before what it averages; what was taken is said.

    Args:
        network: The network that is loaded into.
        checkpoint: A path, `hf-hub:owner/name[@revision][/file]`, or the `https://...[#md5=...]` of a file that is
            fetched once, into `weights` in the cache; `sha256` checks it as well.
        classifier: Names of classifier layers, whose keys are dropped.
        convert: From the key names of the file to those of the network.
        key: Which of several networks in the file, such as `teacher` or `model`.
    Returns:
        Where they came from: `source`, `revision` (the hub's commit, else "unknown") and `file_sha256`; `part` where
        the file holds more, or a prefix was cut off.
    Raises:
        UsageError: The file has no such `key`.
        EvaError: Missing, unexpected or misshapen keys (names them), or a pickle that wants to run code.
    """
    path = find(checkpoint)
    expected = network.state_dict()
    ways = candidates(read_checkpoint(path), expected.__contains__ if convert is None else lambda _: False)
    chosen, others = _choose(
        ways, key, lambda candidate: _problems(_fitted(candidate, classifier, convert), expected), checkpoint
    )
    network.load_state_dict(_fitted(chosen, classifier, convert))
    source = provenance(checkpoint, path)
    if not chosen.prefix and not others:
        return source
    remainder = f"; left out: {some(chosen.without_prefix, 3)}" if chosen.without_prefix else ""
    further = f"; also there: {some(dict.fromkeys(other.name for other in others), 3)}" if others else ""
    say(f"Weights of {public_address(checkpoint)}: {chosen.name}{remainder}{further}.")
    return {**source, "part": chosen.name}


def _fitted(candidate: Candidate, classifier: tuple[str, ...], convert: Convert | None) -> State:
    """Weights under the names of the network."""
    state = candidate.cut() if convert is None else convert(candidate.cut())
    return {k: v for k, v in state.items() if not any(k.startswith(f"{layer}.") for layer in classifier)}


def _problems(state: State, expected: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """List what does not fit, by kind."""
    misshapen = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(expected[k].shape)}"
        for k in sorted(expected.keys() & state.keys())
        if state[k].shape != expected[k].shape
    ]
    kinds = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "misshapen": misshapen,
    }
    return {kind: names for kind, names in kinds.items() if names}


def _choose(
    ways: list[Candidate], key: str | None, problems: Callable[[Candidate], dict[str, list[str]]], checkpoint: str
) -> tuple[Candidate, list[Candidate]]:
    """Choose the best that fits; returns it, and what else would have."""
    checkpoint = public_address(checkpoint)
    matching = [
        candidate
        for candidate in ways
        if key is None or key in (*candidate.words, candidate.prefix[:-1], ".".join(candidate.path))
    ]
    if not matching:
        names = some(dict.fromkeys(candidate.name for candidate in ways if not candidate.prefix))
        raise UsageError(f"Expected {key!r} in {checkpoint}, but it holds {names}. Name one of its networks.")
    faults = [problems(candidate) for candidate in matching]
    fitting = [candidate for candidate, fault in zip(matching, faults, strict=True) if not fault]
    if not fitting:
        least = min(faults, key=lambda fault: sum(map(len, fault.values())))
        listed = "; ".join(f"{kind} {some(names)}" for kind, names in least.items())
        raise EvaError(f"Expected weights that fit the architecture, but {checkpoint} does not: {listed}.")
    return fitting[0], [candidate for candidate in ways if candidate is not fitting[0] and not problems(candidate)]


def provenance(source: str, path: Path) -> dict[str, str]:
    """Say where weights came from. The hub's cache names snapshots by commit and large files by SHA-256."""
    source = public_address(source.partition("#")[0])
    snapshot = re.search("/models--[^/]+/snapshots/([^/]+)/", path.as_posix()) if source.startswith(HUB) else None
    sha256 = path.resolve().name if snapshot else ""
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        with path.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"source": source, "revision": snapshot[1] if snapshot else "unknown", "file_sha256": sha256}


def best_fit(content: Any, names: Set[str], source: str) -> State:
    """Choose from a checkpoint the tensors of which the most have names of a network; not all need to.

    Of several networks that do, the first by `Candidate.rank` is taken. What was taken is said, and what else there is.

    Args:
        content: What the file holds, from `read_checkpoint`.
        names: Names of the network's tensors.
        source: The checkpoint, as the user called it.

    Returns:
        The tensors, without the prefix that they have in the file.
    """
    ways = candidates(content, names.__contains__)
    counts = [len(names & way.cut().keys()) for way in ways]
    chosen = ways[counts.index(max(counts))]
    others = [way.name for way, count in zip(ways, counts, strict=True) if count == max(counts) and way is not chosen]
    if chosen.prefix or others:
        further = f"; also there: {some(dict.fromkeys(others), 3)}" if others else ""
        say(f"Weights of {source}: {chosen.name}{further}.")
    return chosen.cut()


def read_checkpoint(path: Path) -> Any:
    """Read a safetensors file, or a torch file with `weights_only=True`; there are tensors by name in it.

    Raises:
        UsageError: No such file.
        EvaError: Not a file of weights, or one that wants to run code.
    """
    if not path.is_file():
        raise UsageError(f"Expected a file of weights, but {path} does not exist.")
    remedy = "Get it again, as safetensors or as a torch file of plain tensors."
    if cache_root() / "weights" in path.parents:
        remedy = "Delete it and run again: it is then asked for again."
    try:
        with path.open("rb") as handle:
            is_safetensors = path.suffix == ".safetensors" or handle.read(9)[8:] == b"{"
        content = load_file(path) if is_safetensors else load_torch(path)
    except Refused:
        raise
    except Exception as error:  # torch fails in many ways on a file that is cut short, or is no file of weights
        if (impostor := faulty_weights(path)) is not None:
            raise EvaError(f"Expected a file of weights, but {path} is {impostor}. {remedy}") from error
        reason = str(error).rpartition("WeightsUnpickler error: ")[2]
        reason = type(error).__name__ if "weights_only" in reason else reason  # torch advises to run what is in it
        raise EvaError(
            f"Expected a file of weights, but {path} does not read ({one_line(reason, error)}). It may be cut short. "
            f"{remedy}"
        ) from error
    if not states(content):
        raise EvaError(f"Expected tensors by name in {path}, but it holds something else.")
    return content


def one_line(reason: str, error: Exception) -> str:
    """The beginning of an error's text in one line, or its type where it has none."""
    return textwrap.shorten(reason, 300, placeholder=" ...").rstrip(".") or type(error).__name__


def gated(repo: str) -> str:
    """Say what to do about a repository behind a form."""
    return f"{repo} is gated: ask for access at https://huggingface.co/{repo}, then set HF_TOKEN."


def find(checkpoint: str) -> Path:
    """The file of a checkpoint, downloaded where it is not on this machine; the argument is that of `load_weights`.

    Raises:
        EvaError: It cannot be had.
    """
    if checkpoint.startswith(HUB):
        return from_hub(checkpoint)
    return _from_release(checkpoint) if checkpoint.startswith(RELEASE) else Path(checkpoint)


def from_hub(address: str) -> Path:
    """Download (or find in the cache) a file of a hub repository.

    Args:
        address: `hf-hub:owner/name[@revision][/file]`; without a file it is that of the weights.
    Raises:
        UsageError: It names no repository.
        EvaError: The file cannot be had.
    """
    asked = hub_file(address)
    repo, revision, file = asked.repo, asked.revision, asked.file
    # What the cache has goes first: then nothing needs the network.
    names = sorted(
        HUB_FILES, key=lambda f: not file and not isinstance(try_to_load_from_cache(repo, f, revision=revision), str)
    )
    for candidate in [file] if file else names:
        try:
            return Path(hf_hub_download(repo, candidate, revision=revision))
        except GatedRepoError as error:
            raise EvaError(gated(repo)) from error
        except Exception as error:  # the hub's client lets its HTTP library's errors through
            if file or isinstance(error, LocalEntryNotFoundError) or not isinstance(error, EntryNotFoundError):
                reason = one_line(str(error), error)
                raise EvaError(f"Cannot get {address} ({reason}). Check the name, the network and HF_TOKEN.") from error
    raise EvaError(f"Expected one of {', '.join(HUB_FILES)} in {repo}. Name the file: {HUB}{repo}/FILE.")


def _from_release(checkpoint: str) -> Path:
    """Download (or find in our cache) a file that somebody published under a URL."""
    url, checksum = split_checksum(checkpoint)
    if checksum is None and checkpoint.partition("#")[2]:
        raise UsageError(
            f"Expected #md5=... or #sha256=... after {public_address(url)}, but got something else. "
            "Correct it or leave it out."
        )
    path = release_path(url)
    public = public_address(url)
    only_read = path.exists() and not os.access(path.parent, os.W_OK)
    with nullcontext() if only_read else locked(path, say):
        if path.exists() and not checksum and (impostor := faulty_weights(path, whole=False)):
            say(f"{path} is {impostor}, not the weights of {public}: they are asked for again.")
            path.unlink()
        if huggingface_hub.constants.HF_HUB_OFFLINE and not path.exists():
            raise EvaError(
                f"Expected {path}, as HF_HUB_OFFLINE is set, but it does not exist. Put the file of {public} there."
            )
        fetch(url, path, checksum, faulty=faulty_weights)
    return path
