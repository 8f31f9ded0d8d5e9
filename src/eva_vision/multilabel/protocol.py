"""The section of a protocol that several labels of an image read."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class MultiLabelProtocol:
    """The section of a protocol for several labels of an image.

    Attributes:
        heads: The heads that the protocol defines; the first is the default.
    """

    heads: tuple[str, ...] = ("logreg_labels",)

    def of(self, dataset: str, published: Self | None = None) -> Self:
        """The section as it holds for one dataset: for all the same."""
        del dataset, published
        return self
