"""Order of samples in batches, computed from the batch number alone: nothing is stored or shared."""

from dataclasses import dataclass

import numpy as np

from eva_core.errors import UsageError

LANES = 16
"""Number of lanes that batches are dealt to. Each lane keeps its own regions, and one worker serves it throughout."""


@dataclass(frozen=True)
class Order:
    """Numbers of the samples in each batch of one rank.

    The batches that make one optimiser step, of all ranks and all that are accumulated, are its parts. With one patch
    per region, parts take samples in turn: a step takes 0, 1, 2, ... without a gap, however many parts it has. With as
    many parts, each part is the same, whether ranks or accumulation make it: 8 ranks, or 4 that accumulate 2.

    With k patches per region, place s of a lane's batches takes one patch of the same region k times, then goes on to
    another region; places change at different times. So a batch never has two patches of one region unless `distinct`
    is small, every batch needs about as many new regions as the next, and a region is read once.

    Attributes:
        batch_size: Patches of a batch of one rank.
        rank: Number of this process, from 0.
        ranks: Number of processes.
        per_window: Patches that are cut from one region.
        accumulate: Batches of one rank in an optimiser step.

    Examples:
        >>> Order(batch_size=3, rank=1, ranks=2).numbers(0).tolist()
        [1, 3, 5]
        >>> Order(batch_size=3, accumulate=2).numbers(1).tolist()
        [1, 3, 5]
        >>> Order(batch_size=2, per_window=2).numbers(0).tolist()  # patch 0 of region 0, patch 1 of region 16
        [0, 33]
    """

    batch_size: int
    rank: int = 0
    ranks: int = 1
    per_window: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"Expected batch_size to be at least 1, but got {self.batch_size}. Change it.")
        if not 0 <= self.rank < self.ranks:
            raise UsageError(f"Expected a rank below {self.ranks} ranks, but got {self.rank}. Change one of them.")

    def numbers(self, batch: int) -> np.ndarray:
        """Numbers of the samples of a batch, int64 (batch_size,)."""
        place = np.arange(self.batch_size)
        step, turn = divmod(batch, self.accumulate)
        part, parts = turn * self.ranks + self.rank, self.ranks * self.accumulate
        if self.per_window == 1:
            return part + parts * (step * self.batch_size + place)
        round_, lane = divmod(step, LANES)
        at = round_ + place % self.per_window
        region = at // self.per_window * self.batch_size + place
        region = (region * LANES + lane) * parts + part
        return region * self.per_window + at % self.per_window

    def lane(self, batch: int) -> int:
        """Number of the lane of a batch; with accumulation, each batch of a step has lanes of its own."""
        return batch % (LANES * self.accumulate)

    @property
    def identity(self) -> dict[str, int]:
        """What decides about the samples of an optimiser step."""
        parts = self.ranks * self.accumulate
        batch = {"batch": self.batch_size * parts}
        return batch if self.per_window == 1 else {**batch, "batch_size": self.batch_size}

    def check(self, workers: int) -> None:
        """Refuse a number of workers by which a lane would have more than one.

        Args:
            workers: Processes that read.

        Raises:
            UsageError: The number does not divide the number of lanes.
        """
        if self.per_window > 1 and LANES % workers:
            raise UsageError(
                f"Expected 1, 2, 4, 8 or 16 workers where per_window is above 1, but got {workers}. Change workers."
            )
