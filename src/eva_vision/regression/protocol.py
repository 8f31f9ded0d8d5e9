"""The section of a protocol that regression of images reads."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class PatchRegressionProtocol:
    """The section of a protocol for values of images.

    Attributes:
        heads: The heads that the protocol defines; the first is the default.
    """

    heads: tuple[str, ...] = ("ridge_hest",)

    def of(self, dataset: str, published: Self | None = None) -> Self:
        """The section as it holds for one dataset: for all the same."""
        del dataset, published
        return self
