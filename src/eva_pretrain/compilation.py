"""Functions that are compiled where a run asks for it: on a GPU, what is elementwise becomes one pass over memory."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

_OPTIONS: dict[str, Any] = {"dynamic": False}
"""All sizes are fixed but those that `rows_vary` names."""


def rows_vary(x: Tensor, dim: int) -> Tensor:
    """Tell the compiler that a dimension differs from step to step, as the number of hidden patches does."""
    import torch._dynamo as dynamo

    dynamo.maybe_mark_dynamic(x, dim)
    return x


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors when it is called first."""
    made: Callable[..., Any] = torch.compile(function, **_OPTIONS)
    return made


def seconds_compiling() -> float:
    """Time that this process has spent in compiling, in seconds."""
    from torch._dynamo.utils import compilation_time_metrics

    return float(sum(compilation_time_metrics.get("_compile.compile_inner", [])))
