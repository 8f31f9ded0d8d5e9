"""The grid of a study: `jpeg,blur=1:2,stain_swap` -> changes with their strengths."""

from collections.abc import Sequence
from pathlib import Path

from eva_core import registry
from eva_core.errors import UsageError
from eva_vision.shifts.contracts import MPP, REFERENCE, ChangeCard, Reference, Shift, Strength, needs

Grid = dict[str, list[Shift]]
"""Shifts of each change by its name: below the neutral strength, then above it, each from mild to strong."""


def grid_of(text: str | None, reference: Path | None, known_mpp: bool) -> tuple[Grid, list[str]]:
    """Read what was asked for.

    Args:
        text: Names with commas, each with strengths of its own after `=`, with colons; None: all changes that can be
            made, at their usual strengths.
        reference: An image that lends its stains.
        known_mpp: Whether the micrometres per pixel of all images are known.
    Returns:
        The grid, and a line for each change that is left out.
    Raises:
        UsageError: A name is unknown, a strength is none, or a change lacks what it needs.
    """
    lent = None if reference is None else _read(reference)
    grid: Grid = {}
    left_out = []
    parts = [part.strip() for part in text.split(",") if part.strip()] if text is not None else _all()
    for part in parts:
        name, given, strengths = part.partition("=")
        function = registry.changes.load(name)
        lack = _lack(name, needs(function), lent, known_mpp)
        if lack and text is not None:
            raise UsageError(f"Expected {lack}")
        if lack:
            left_out.append(f"{name} is left out, as it wants {lack}")
            continue
        if name in grid:
            raise UsageError(f"Expected each change once in --changes, but got {name} twice.")
        card: ChangeCard = function.card
        values = _strengths(name, card, strengths.split(":")) if given else list(card.strengths)
        grid[name] = [Shift(name, function, value, lent) for value in _from_mild_to_strong(card, values)]
    if not grid:
        raise UsageError(f"Expected names of changes in --changes, but got {text!r}. There are {', '.join(_all())}.")
    return grid, left_out


def _all() -> list[str]:
    return list(dict.fromkeys(entry.name for entry in registry.changes.entries()))


def _lack(name: str, wanted: Sequence[str], reference: Reference | None, known_mpp: bool) -> str:
    """What a change needs and is not there, and how to give it; empty where nothing lacks."""
    if MPP in wanted and not known_mpp:
        return f"the micrometres per pixel of all images for {name}. Datasets of your own take --dataset.mpp."
    if REFERENCE in wanted and reference is None:
        return f"an image that lends its stains for {name}. Name one: --reference IMAGE."
    return ""


def _strengths(name: str, card: ChangeCard, texts: Sequence[str]) -> list[Strength]:
    if not card.ordered:
        unknown = [text for text in texts if text not in card.strengths]
        if unknown:
            raise UsageError(f"Expected {name} as {':'.join(map(str, card.strengths))}, but got {unknown[0]!r}.")
        return list(texts)
    low, high = card.bounds
    values: list[Strength] = []
    for text in texts:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high or value in values:
            raise UsageError(
                f"Expected different strengths from {low:g} to {high:g}, such as {name}={_usual(card)}, but got "
                f"{text!r}."
            )
        values.append(value)
    return values


def _usual(card: ChangeCard) -> str:
    return ":".join(f"{strength:g}" for strength in card.strengths if isinstance(strength, float))


def _from_mild_to_strong(card: ChangeCard, values: list[Strength]) -> list[Strength]:
    if not card.ordered:
        return values
    numbers = [value for value in values if isinstance(value, float)]
    return [*sorted(numbers, key=lambda v: (v > card.neutral, abs(v - card.neutral)))]


def _read(path: Path) -> Reference:
    from eva_vision.images import read_image

    try:
        return Reference(read_image(path))
    except OSError as error:
        raise UsageError(f"Expected an image as --reference, but {path} does not read ({error}).") from error
