"""Stop of a run before its end: by a signal or a time limit, on all ranks after the same step."""

import time
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from eva_core import interrupts
from eva_pretrain.distributed import world


class Stopping:
    """Agreement of all ranks on the step after which they stop.

    Ranks are told by different signals at different times, and one that stopped alone would leave the others waiting.
    After each step they compare notes on the CPU, without waiting for the device: the answer of one step is looked at
    after the next.
    """

    def __init__(self, hours: float | None, began: float, timeout: timedelta = timedelta(minutes=30)) -> None:
        """Set the time limit.

        Args:
            hours: Hours from `began` after which the run stops; None: no limit.
            began: Time by `time.monotonic`.
            timeout: How long a rank waits for the others.
        """
        self._end = None if hours is None else began + 3600 * hours
        self._timeout = timeout
        self._group: Any = None
        self._asked: tuple[Tensor, dist.Work | None] | None = None

    def exit_code(self) -> int:
        """Exit code by which all ranks stop now, 0 where they go on; all ranks call it after each step."""
        if world() == 1:
            return self._own()
        answer = 0
        if self._asked is not None:
            code, asked = self._asked
            if asked is not None:
                asked.wait()
            answer = int(code)
        else:
            self._group = dist.new_group(backend="gloo", timeout=self._timeout)
        code = torch.tensor(self._own())
        self._asked = code, dist.all_reduce(code, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return answer

    def _own(self) -> int:
        """Exit code by which this process would stop, 0 where it would go on."""
        number = interrupts.stopped_by()
        if number is not None:
            return interrupts.exit_code(number)
        over = self._end is not None and time.monotonic() >= self._end
        return interrupts.AGAIN_LATER if over else 0
