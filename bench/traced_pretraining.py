"""Memory traffic of the losses and targets of a pretraining step, traced on a CPU, for this tree or another.

    python bench/traced_pretraining.py                       # this tree
    PYTHONPATH=OTHER/src python bench/traced_pretraining.py  # another tree, by the same tracer

Bytes are those that each operator reads and writes, each tensor once; for compiled functions those of each kernel that
the compiler makes (for a CPU: the fusion of a GPU may differ a little). Rows are traced in part and scaled.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if importlib.util.find_spec("eva_pretrain") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

PROTOTYPES = 131_072
BATCH, HIDDEN, LOCAL = 32, 2458, 8
"""ViT-L/14 at batch 32: hidden patches of 64 global crops, 15 % of 256 patches each, and local crops."""
PART = 16
"""Rows are traced in one of so many."""


class Bytes(TorchDispatchMode):
    """Counter of the bytes that operators read and write, each tensor of an operator once."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if function.is_view or function._schema.name in {"aten::empty", "aten::detach", "aten::empty_like"}:
            return out
        written = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        read = [t for t in tree_leaves([args, kwargs]) if isinstance(t, Tensor)]
        if function._schema.name in {"aten::copy_", "aten::fill_", "aten::zero_"}:
            read = read[1:]
        self.total += sum(_size(t) for t in read) + sum(_size(t) for t in written)
        return out


def _size(x: Tensor) -> int:
    """Bytes of the distinct elements of a tensor."""
    elements = 1
    for length, stride in zip(x.shape, x.stride(), strict=True):
        elements *= length if stride else 1
    return elements * x.element_size()


def losses(make: Callable[[Tensor, float], Any]) -> None:
    """Run targets and losses of the class tokens and hidden patches of a part of L/14's rows, forward and backward."""
    from eva_pretrain.losses.dino import dinov2_loss
    from eva_pretrain.losses.ibot import ibot_loss

    batch, hidden = BATCH // PART, HIDDEN // PART

    def logits(*rows: int) -> Tensor:
        return torch.zeros(*rows, PROTOTYPES, dtype=torch.bfloat16)

    cls, patches = make(logits(2 * batch), 0.05).unflatten(0, (2, batch)), make(logits(hidden), 0.05)
    rows = [logits(2, batch), logits(LOCAL, batch), logits(hidden)]
    global_, local, masked = (x.requires_grad_() for x in rows)
    terms = dinov2_loss(global_, local, cls)
    (terms[0] + terms[1] + ibot_loss(masked, patches, torch.ones(hidden), 2 * batch)).backward()


def eager_bytes() -> float:
    """Count the bytes of the losses of L/14, operator by operator."""
    from eva_pretrain.losses.teacher_targets import sinkhorn

    with Bytes() as counter:
        losses(sinkhorn)
    return counter.total * PART


def compiled_bytes() -> float:
    """Count the bytes of the kernels of the compiled losses of L/14."""
    from torch._inductor import config
    from torch._inductor.graph import GraphLowering

    from eva_pretrain.losses import targets, teacher_targets

    config.force_disable_caches = True  # else a graph of an earlier run would not be made, and not be counted
    made: list[int] = []
    to_module = GraphLowering.compile_to_module

    def counted(self: GraphLowering) -> Any:
        module = to_module(self)
        made.append(self.count_bytes()[0])
        return module

    GraphLowering.compile_to_module = counted  # type: ignore[method-assign]
    totals: dict[Any, int] = {}
    calls: list[Any] = []

    def tracked(function: Any) -> Any:
        def call(*given: Any) -> Any:
            key = (function.__name__, *(x.shape for x in given if isinstance(x, Tensor)))
            calls.append(key)
            if key not in totals:
                torch.compiler.reset()  # so that each set of shapes is compiled, and counted, by itself
                made.clear()
            out = torch.compile(function, dynamic=False)(*given)
            totals.setdefault(key, sum(made))
            return out

        return call

    targets.compiled = tracked
    losses(teacher_targets.sinkhorn_targets)
    return float(sum(totals[key] for key in calls)) * PART


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    torch.set_num_threads(1)
    import eva_pretrain

    row: dict[str, Any] = {
        "tree": str(Path(eva_pretrain.__file__).parents[1]),
        "losses, eager, GB": round(eager_bytes() / 1e9, 1),
    }
    if importlib.util.find_spec("eva_pretrain.compilation"):
        row["losses, compiled, GB"] = round(compiled_bytes() / 1e9, 1)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
