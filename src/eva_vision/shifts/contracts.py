"""What a change of acquisition promises: a function of pixels, with what its strength means and the usual ones.

Entry points of the group `eva.changes` name functions `(image: uint8 (H, W, 3), strength) -> uint8 (H, W, 3)`, which
`change` describes. A function that also needs the micrometres per pixel, random numbers or the reference image has
parameters `mpp`, `rng` or `reference`.
"""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np

from eva_core.errors import EvaError
from eva_core.identity import qualified_name
from eva_vision.slides.reading.shifted import Scope

Strength = float | str
"""A number where strengths have an order, else a name."""
MPP, RNG, REFERENCE = "mpp", "rng", "reference"
Function = TypeVar("Function", bound=Callable[..., np.ndarray])
Look: TypeAlias = "Callable[[Shift | None], np.ndarray]"
"""The pixels of one image or patch under a shift, or as they are, uint8 (H, W, 3)."""


@dataclass(frozen=True)
class ChangeCard:
    """What is known of a change.

    Attributes:
        label: What changes, and the unit of its strength, as the axis of a plot has it.
        strengths: The usual ones: numbers, or names where there is no order.
        neutral: The number at which nothing changes; strengths lie on one side of it or on both.
        bounds: Least and greatest strength that it takes.
        version: Raised when its output changes.
        on_slides: What it is made to where slides are read: all that is decoded, thumbnails too; patches alone, each
            where it is; or the mpp that the file states, where a strength s makes a pixel 1 + s times as long.
    """

    label: str
    strengths: tuple[Strength, ...]
    neutral: float = 0.0
    bounds: tuple[float, float] = (0.0, 1.0)
    version: int = 1
    on_slides: Scope = "regions"

    @property
    def ordered(self) -> bool:
        """Whether strengths are numbers, and so stronger or milder."""
        return not isinstance(self.strengths[0], str)


class Reference:
    """The image that a stain is brought to.

    Args:
        image: uint8 (H, W, 3).
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image

    @cached_property
    def sha256(self) -> str:
        """Digest of its pixels."""
        return hashlib.sha256(f"{self.image.shape}".encode() + self.image.tobytes()).hexdigest()


def change(card: ChangeCard) -> Callable[[Function], Function]:
    """Decorate a function of pixels with what is known of it."""

    def described(function: Function) -> Function:
        function.card = card  # type: ignore[attr-defined]
        return function

    return described


def needs(function: Callable[..., np.ndarray]) -> list[str]:
    """What a change takes besides image and strength, in order.

    Examples:
        >>> needs(lambda image, strength, mpp: image)
        ['mpp']
    """
    return list(inspect.signature(function).parameters)[2:]


@dataclass(frozen=True)
class Shift:
    """A change at one strength.

    Attributes:
        name: Registered name of the change.
        function: What it does to pixels.
        strength: How strongly.
        reference: The image that a stain is brought to, where there is one.
    """

    name: str
    function: Callable[..., np.ndarray]
    strength: Strength
    reference: Reference | None = field(default=None, compare=False)

    @property
    def card(self) -> ChangeCard:
        """What is known of the change."""
        card: ChangeCard = self.function.card  # type: ignore[attr-defined]
        return card

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what it does to a given image, as JSON holds it."""
        uses = REFERENCE in needs(self.function) and self.reference is not None
        return {
            "change": self.name,
            "function": qualified_name(self.function),
            "version": self.card.version,
            "strength": self.strength,
            **({"reference": self.reference.sha256} if uses and self.reference else {}),
        }

    def about(self, sample_id: str, mpp: float | None) -> dict[str, Any]:
        """What decides the changed pixels of one sample besides its own, as JSON holds it."""
        wanted = needs(self.function)
        return {
            **self.identity,
            **({"mpp": mpp} if MPP in wanted else {}),
            **({"id": sample_id} if RNG in wanted else {}),
        }

    def __call__(self, image: np.ndarray, sample_id: str, mpp: float | None) -> np.ndarray:
        """Change an image: uint8 (H, W, 3) -> uint8 (H, W, 3); equal for equal ids, whatever was changed before.

        Args:
            image: The pixels.
            sample_id: Id of the sample: random numbers are drawn for it.
            mpp: Micrometres per pixel of the image.
        Raises:
            EvaError: The change needs to know mpp, and it is not known.
        """
        given: dict[str, Any] = {}
        for name in needs(self.function):
            if name == MPP and mpp is None:
                raise EvaError(f"Expected the micrometres per pixel for {self.name}, but they are not known")
            seed = hashlib.sha256(f"{self.name}\0{sample_id}".encode()).digest()
            values = {MPP: mpp, REFERENCE: self.reference}
            given[name] = np.random.default_rng(list(seed)) if name == RNG else values[name]
        changed: np.ndarray = self.function(image, self.strength, **given)
        return changed


def strength_text(strength: float | str) -> str:
    """A strength as tables and plots show it.

    Examples:
        >>> strength_text(0.5), strength_text("box")
        ('0.5', 'box')
    """
    return strength if isinstance(strength, str) else f"{strength:g}"
