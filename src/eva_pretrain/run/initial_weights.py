"""Initial weights of a run: random, a pretrained network of timm, a file, an export, or a checkpoint of ours."""

from pathlib import Path

import timm
from lightning.pytorch.utilities import rank_zero_only
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor

from eva_core.errors import EvaError, UsageError, some
from eva_core.files.torch_files import load_torch
from eva_core.progress import say as say_here
from eva_pretrain.methods.base import Method, Network
from eva_pretrain.run.checkpoints import refuse_damaged
from eva_vision.models.exported import WEIGHTS, check_files, read_seen
from eva_vision.models.weights import read_state_dict

State = dict[str, Tensor]
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
    state = _read(start)
    if any(key.startswith("student.") for key in state):
        for name, network in (("student", method.student), ("teacher", method.teacher)):
            own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
            _load(network, _resized(network, own), f"{start}, {name}")
        own = method.state_dict()
        fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        centres = {k: v for k, v in fits.items() if not k.startswith(("student.", "teacher."))}
        method.load_state_dict(centres, strict=False)
        method.heads_first = not all(k in fits for k in own if k.startswith("student.heads."))
        return
    backbone = {f"vit.network.{k}": v for k, v in state.items()}
    _load(method.student, _resized(method.student, backbone), start)
    method.teacher.load_state_dict(method.student.state_dict())
    method.heads_first = True


def seen_by(start: str | None) -> list[tuple[str, str | None]]:
    """List the slides and patients that initial weights have seen; a file without such a list stands for itself."""
    path = Path(start or "")
    if start is None or (not path.exists() and timm.is_model_pretrained(start)):
        return []  # no network of timm has seen slides under these names
    if path.is_dir():
        return read_seen(path)
    if path.suffix == ".ckpt":
        progress = load_torch(path, mmap=True).get("eva_progress", {})
        return [tuple(pair) for pair in progress.get("seen", [(path.name, None)])]
    return [(path.name, None)]


def _read(start: str) -> State:
    path = Path(start)
    if path.is_dir():
        check_files(path)
        return read_state_dict(path / WEIGHTS)
    if path.is_file():
        refuse_damaged(path)
    if path.exists() or "/" in start:
        return read_state_dict(path)
    if not timm.is_model_pretrained(start):
        raise UsageError(
            f"Expected start to be a pretrained network of timm such as vit_small_patch16_224.dino, a file, or the "
            f"folder of an export, but got {start!r}. Leave it out for random weights."
        )
    try:
        return timm.create_model(start, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client lets its HTTP library's errors through
        reason = " ".join(str(error).split())
        raise EvaError(f"Cannot get the weights of {start} ({reason}). Check the network, or give a file.") from error


def _resized(network: Network, state: State) -> State:
    """State under the names of the installed timm, with position and patch embedding resized to the network."""
    inside = "vit.network."
    vit = {k.removeprefix(inside): v for k, v in state.items() if k.startswith(inside)}
    rest = {k: v for k, v in state.items() if not k.startswith(inside)}
    vit = checkpoint_filter_fn(vit, network.vit.network, interpolation="bicubic", antialias=True)
    return {**rest, **{f"{inside}{k}": v for k, v in vit.items()}}


def _load(network: Network, state: State, source: str) -> None:
    expected = network.state_dict()
    misshapen = [k for k in sorted(expected.keys() & state.keys()) if expected[k].shape != state[k].shape]
    fitting = {k: v for k, v in state.items() if k in expected and k not in misshapen}
    backbone = [k for k in expected if k.startswith("vit.network.")]
    if not set(backbone) & fitting.keys() or any(k.startswith("vit.network.blocks.") for k in misshapen):
        raise EvaError(
            f"Expected weights for {network.vit.network.__class__.__name__} with {len(network.vit.network.blocks)} "
            f"blocks of width {network.vit.dim}, but {source} has other shapes ({some(misshapen or sorted(state))}). "
            "Choose the arch that it was made for."
        )
    network.load_state_dict(fitting, strict=False)
    say(f"Loaded {len(fitting)} of {len(expected)} tensors from {source}.")
    for what, keys in (
        ("Left as they were, because it has none", sorted(expected.keys() - state.keys())),
        ("Left as they were, because it has other shapes", misshapen),
        ("Not used", sorted(state.keys() - expected.keys())),
    ):
        if keys:
            say(f"  {what}: {some([k.removeprefix('vit.network.') for k in keys])}.")
