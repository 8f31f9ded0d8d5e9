"""What a dataset may say of the robustness benchmark that it was made for."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Benchmark:
    """How a published benchmark measures a dataset whose samples carry a class, a site and a group.

    A dataset that is one has it as its attribute `benchmark`; any other is measured with the values given here.

    Attributes:
        k: Neighbours of the robustness index; None: those that predict the class best.
        home: The split whose sites are in distribution, on which neighbours are looked for; other splits are out of
            distribution. None: all splits are in distribution.
        subsets: Ids of the samples of each part in which neighbours are looked for by themselves; empty: one part, all
            of `home`.
        index_task: Name of the published values of the robustness index.
        margin_task: Name of the published values of the margin.
        departures: What differs from how the published values were made, as protocols say it: `rows=all`.
    """

    k: int | None = None
    home: str | None = None
    subsets: Sequence[Sequence[str]] = field(default=(), repr=False)
    index_task: str = ""
    margin_task: str = ""
    departures: Sequence[str] = ()
