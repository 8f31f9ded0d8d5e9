"""Initial weights of a run: random, a model by name, a file, an export, or a checkpoint of ours."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from eva_core.errors import EvaError, UsageError, some
from eva_core.files.addresses import is_address
from eva_core.files.torch_files import load_torch
from eva_core.hub.weight_files import HUB
from eva_core.progress import say as say_here
from eva_core.registry import export_in
from eva_pretrain.data.seen_images import images_seen
from eva_pretrain.methods.base import Method, Network
from eva_pretrain.network.named_models import card_of, is_registered, named_backbone, terms_of
from eva_pretrain.network.start_state import State, fitted, registers_of
from eva_pretrain.run.checkpoints import refuse_damaged
from eva_pretrain.run.derivation import export_of
from eva_vision.models.checkpoint_states import states
from eva_vision.models.exported import WEIGHTS, check_files, read_images, read_seen
from eva_vision.models.weights import best_fit, read_checkpoint

_INSIDE = "vit.network."
_FILES = {".safetensors", ".ckpt", ".pth", ".pt", ".bin"}
say = rank_zero_only(say_here)


def load_initial_weights(method: Method, start: str | None) -> None:
    """Load initial weights into student and teacher, and say what was loaded and what was not.

    Args:
        method: Receives the weights; its `heads_first` is set where they come without heads.
        start: Name or path, as in `Architecture.start`.

    Raises:
        UsageError: Nothing has this name or path.
        EvaError: The weights cannot be read, or none of them fits.
    """
    if start is None:
        say(f"Random weights from seed {method.setup_.seed}.")
        return
    state, arch = _read(start, method)
    if _is_ours(state):
        for name, network in (("student", method.student), ("teacher", method.teacher)):
            own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
            _load(network, _resized(network, own), f"{start}, {name}")
        own = method.state_dict()
        fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        centres = {k: v for k, v in fits.items() if not k.startswith(("student.", "teacher."))}
        method.load_state_dict(centres, strict=False)
        method.heads_first = not all(k in fits for k in own if k.startswith("student.heads."))
        return
    backbone = {f"{_INSIDE}{k}": v for k, v in state.items()}
    _load(method.student, _resized(method.student, backbone), start, arch)
    _say_differences(method, start, state)
    method.teacher.load_state_dict(method.student.state_dict())
    method.heads_first = True


def seen_by(start: str | None) -> list[tuple[str, str | None]]:
    """List slides and patients that a start, or a frozen model, has seen; a file without a list stands for itself."""
    if not start:
        return []
    if (export := export_of(start)) is not None:
        return read_seen(export)
    path = Path(start)
    if is_registered(start) or not (path.exists() or path.suffix in _FILES):
        return []  # no model with a name has seen slides under these names, or its card says which
    if path.suffix == ".ckpt":
        progress = load_torch(path, mmap=True).get("eva_progress", {})
        return [tuple(pair) for pair in progress.get("seen", [(path.name, None)])]
    return [(path.name, None)]


def images_seen_by(start: str | None) -> np.ndarray:
    """Hashes of the image files that a start, or a frozen model, of a run or an export has seen, uint64 (n,)."""
    hashes, export = b"", export_of(start) if start else None
    if export is not None:
        hashes = read_images(export)
    elif (path := Path(start or "")).suffix == ".ckpt" and path.is_file():
        hashes = images_seen(path.absolute().parents[1])
    return np.frombuffer(hashes, "<u8")


def _is_ours(state: State) -> bool:
    """Whether a state is that of a method, of student and teacher."""
    return any(key.startswith(f"student.{_INSIDE}") for key in state)


def _read(start: str, method: Method) -> tuple[State, str]:
    """Read the state of a start, and how `--vit` describes its architecture, "" where nothing says so."""
    path = Path(start)
    if not is_registered(start):
        if is_address(start) and not start.startswith(HUB):
            raise UsageError(f"Expected start as a file on this machine or a name, but got {start}. Download it first.")
        if path.is_dir():
            folder = Path(export_in(start))
            check_files(folder)
            return _read_file(folder / WEIGHTS, method), ""
        if path.is_file():
            refuse_damaged(path)
        if path.exists() or path.suffix in _FILES or ("/" in start and not start.startswith(HUB)):
            return _read_file(path, method), ""
    known = card_of(start) is not None
    if known:  # before what a gated page may refuse
        say(f"Starting from {terms_of(start)}")
    backbone = named_backbone(start)
    if not known:
        say(f"Starting from {terms_of(start, backbone)}")
    network = getattr(backbone, "network", None)
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"Expected start to be a model on a network of timm, but {start} is a {type(backbone).__name__}. "
            "Choose another, or distil it: --method distill."
        )
    arguments = {k: v for k, v in backbone.arguments.items() if k not in ("arch", "size", "folder")}
    flags = f" --vit.arguments '{json.dumps(arguments)}'" if arguments else ""
    return network.state_dict(), f"--vit.arch {str(backbone.arguments.get('arch')).partition('.')[0]}{flags}"


def _read_file(path: Path, method: Method) -> State:
    """Read a checkpoint of ours as it is, of any other file what fits the network best."""
    content = read_checkpoint(path)
    first = states(content)[0].state
    return first if _is_ours(first) else best_fit(content, method.student.vit.network.state_dict().keys(), str(path))


def _resized(network: Network, state: State) -> State:
    """State under the names of the installed timm, with special tokens, positions and patches of the network."""
    vit = {k.removeprefix(_INSIDE): v for k, v in state.items() if k.startswith(_INSIDE)}
    rest = {k: v for k, v in state.items() if not k.startswith(_INSIDE)}
    return {**rest, **{f"{_INSIDE}{k}": v for k, v in fitted(vit, network.vit.network).items()}}


def _say_differences(method: Method, start: str, state: State) -> None:
    """Say where the network has other registers than the start, or sees pixels of another normalisation."""
    have, wanted = registers_of(state), method.student.vit.network.num_prefix_tokens - 1
    if have != wanted:
        new = f"{wanted - have} new ones are random" if wanted > have else f"{have - wanted} are left out"
        say(f"  Registers: {have} in {start}, {wanted} in the network; {new}.")
    card, views = card_of(start), method.setup_.views
    if card is not None and (tuple(card.mean), tuple(card.std)) != (tuple(views.mean), tuple(views.std)):
        say(
            f"  Pixels: {start} was trained with mean {list(card.mean)} and std {list(card.std)}; views.mean and "
            f"views.std are {list(views.mean)} and {list(views.std)}."
        )


def _load(network: Network, state: State, source: str, arch: str = "") -> None:
    expected = network.state_dict()
    misshapen = [k for k in sorted(expected.keys() & state.keys()) if expected[k].shape != state[k].shape]
    fitting = {k: v for k, v in state.items() if k in expected and k not in misshapen}
    _refuse_others(network, state, misshapen, source, arch)
    if unusable := [k for k, v in fitting.items() if not v.is_floating_point() or not v.float().isfinite().all()]:
        raise EvaError(
            f"Expected finite weights, but {source} has NaN, infinity or whole numbers in {_named(unusable)}. "
            "Choose another file."
        )
    network.load_state_dict(fitting, strict=False)
    say(f"Loaded {len(fitting)} of {len(expected)} tensors from {source}.")
    for what, keys in (
        ("Left as they were, because it has none", expected.keys() - state.keys()),
        ("Left as they were, because it has other shapes", misshapen),
        ("Not used", state.keys() - expected.keys()),
    ):
        if keys:
            say(f"  {what}: {_named(keys)}.")


def _refuse_others(network: Network, state: State, misshapen: list[str], source: str, arch: str) -> None:
    """Refuse weights of another depth or width, and those of which none has a name of the network's."""
    blocks, wrong = f"{_INSIDE}blocks.", ""
    depth, theirs = len(network.vit.network.blocks), len({k.split(".")[3] for k in state if k.startswith(blocks)})
    if theirs not in (0, depth):
        wrong = f"{theirs} blocks"
    elif not any(k.startswith(_INSIDE) for k in network.state_dict().keys() & state.keys() - {*misshapen}) or any(
        k.startswith(blocks) for k in misshapen
    ):
        wrong = f"other shapes ({_named(misshapen)})" if misshapen else f"other names ({_named(state)})"
    if wrong:
        raise EvaError(
            f"Expected weights for {network.vit.network.__class__.__name__} with {depth} blocks of width "
            f"{network.vit.dim}, but {source} has {wrong}. "
            f"Choose the arch that it was made for{f': {arch}' if arch else ''}."
        )


def _named(keys: Iterable[str]) -> str:
    """List tensors, those of the backbone first, under timm's names."""
    return some([k.removeprefix(_INSIDE) for k in sorted(keys, key=lambda k: (not k.startswith(_INSIDE), k))])
