"""Choice of weights in a checkpoint: a file may hold several networks, and prefixes of what trained them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

State = dict[str, Tensor]

AVERAGED = frozenset(
    [
        *("teacher", "teacher_backbone", "ema", "model_ema", "ema_model", "module_ema", "state_dict_ema"),
        *("ema_state_dict", "target", "target_network", "target_encoder"),
        *("momentum_encoder", "momentum_backbone", "encoder_k"),
    ]
)
"""Names of moving averages, which evaluation takes, as timm does."""
ONLINE = frozenset(
    ["student", "student_backbone", "online", "online_network", "online_encoder", "encoder_q", "predictor"]
)
PLAIN = frozenset(
    [
        *("module", "model", "backbone", "encoder", "net", "network", "state_dict", "weights", "params", "trunk"),
        *("_orig_mod", "_forward_module", "vit", "visual", "image_encoder", "vision_encoder", "vision_model"),
        *("base_encoder", "base_model", "feature_extractor", "pretrained_model"),
    ]
)
"""Names that training code puts round a network, without a meaning for evaluation."""
_DEPTH = 3


@dataclass(frozen=True)
class Candidate:
    """Weights in a checkpoint.

    Attributes:
        path: Keys that lead to them in the file.
        prefix: What is cut off their names.
        state: The tensors by name, as they are in the file.
    """

    path: tuple[str, ...]
    prefix: str
    state: State

    @property
    def words(self) -> list[str]:
        """Names that lead to the weights."""
        return [*self.path, *self.prefix.split(".")[:-1]]

    @property
    def name(self) -> str:
        """The name by which messages call the weights."""
        where = ".".join(self.path)
        cut = f"without the prefix {self.prefix!r}" if self.prefix else ""
        return " ".join(filter(None, (where, cut))) or "all"

    @property
    def rank(self) -> tuple[int, bool, int, int]:
        """Sort key: moving averages first, what they average last; then known names, the least cut, the largest."""
        words = set(self.words)
        order = 0 if AVERAGED & words else 2 if ONLINE & words else 1
        return order, not words <= AVERAGED | ONLINE | PLAIN, self.prefix.count("."), -len(self.state)

    def cut(self) -> State:
        """The weights under their own names."""
        return {k.removeprefix(self.prefix): v for k, v in self.state.items() if k.startswith(self.prefix)}

    @property
    def without_prefix(self) -> list[str]:
        """Names that do not have the prefix."""
        return [k for k in self.state if not k.startswith(self.prefix)]


def states(content: Any) -> list[Candidate]:
    """Every mapping of names to tensors in a checkpoint, best first."""
    return sorted(_states(content, ()), key=lambda candidate: candidate.rank)


def candidates(content: Any, fits: Callable[[str], bool]) -> list[Candidate]:
    """Every way to take weights from a checkpoint, best first.

    Args:
        content: What the file holds.
        fits: Whether a name is one of the network.
    """
    ways = [Candidate(c.path, prefix, c.state) for c in states(content) for prefix in _prefixes(c.state, fits)]
    return sorted(ways, key=lambda candidate: candidate.rank)


def _states(content: Any, path: tuple[str, ...]) -> Iterator[Candidate]:
    if not isinstance(content, Mapping) or not content:
        return
    if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        yield Candidate(path, "", dict(content))
    elif len(path) < _DEPTH:
        for key, value in content.items():
            if not path or str(key) in AVERAGED | ONLINE | PLAIN:  # deeper there are optimizers' own
                yield from _states(value, (*path, str(key)))


def _prefixes(state: State, fits: Callable[[str], bool]) -> list[str]:
    """List the prefixes that make names of the network of some names, the empty one among them."""
    prefixes = {""}
    for name in state:
        parts = name.split(".")
        for n in range(1, len(parts)):
            prefix = ".".join(parts[:n]) + "."
            familiar = all(part in AVERAGED | ONLINE | PLAIN for part in parts[:n])
            if prefix not in prefixes and (familiar or fits(name.removeprefix(prefix))):
                prefixes.add(prefix)
    return sorted(prefixes)
