"""`eva compare A B ...`: whether finished results differ, in a sentence each."""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eva_core.config.argparser import Parser
from eva_core.errors import UsageError
from eva_core.results.record import DICE, ImageDice, Predictions, read_dice, read_predictions, read_results
from eva_core.shown import visible

if TYPE_CHECKING:
    from eva_core.statistics.comparison import Difference


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="eva compare",
        description="Compare finished results on the same images: the difference with a 95 % interval over images and "
        "seeds, a permutation test by patient or slide, and Holm's correction where there are more than two.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="at least two folders that `eva fit` wrote")
    parser.add_argument("--metric", help="the main metric of the first unless given; for masks dice alone")
    parser.add_argument("--split", help="the main split of the first unless given")
    given = parser.parse_args(argv)
    if len(given.results) < 2:
        raise UsageError(f"Expected at least two folders of results, but got {len(given.results)}.")
    for sentence in compare(given.results, given.metric, given.split):
        print(visible(sentence))
    return 0


def compare(folders: list[Path], metric: str | None = None, split: str | None = None) -> list[str]:
    """One sentence for each pair.

    Raises:
        UsageError: The results are not of the same task and images, or one has no such metric or split.
    """
    from eva_core.classification.metric_names import NAMES, SEGMENTATION
    from eva_core.statistics.comparison import holm

    results = [read_results(folder) for folder in folders]
    masks = [result["main"]["metric"] in SEGMENTATION for result in results]
    if len(set(masks)) > 1:
        of_masks, of_classes = (folders[masks.index(kind)] for kind in (True, False))
        raise UsageError(f"Expected results of one task, but {of_masks} is a segmentation and {of_classes} is not.")
    main, known = results[0]["main"], (DICE,) if masks[0] else NAMES
    metric, split = metric or (DICE if masks[0] else main["metric"]), split or main["split"]
    if metric not in known:
        raise UsageError(f"Expected --metric to be one of {', '.join(known)}, but got {metric}.")
    pairs = list(combinations(range(len(folders)), 2))
    read = [read_dice(folder, split) if masks[0] else read_predictions(folder, split) for folder in folders]
    _refuse_other_images(folders, results, read)
    found = [_difference(read[a][0], read[b][0], read[0][1], metric) for a, b in pairs]
    adjusted = holm([math.nan if d.p is None else d.p for d in found])
    tests = sum(d.p is not None for d in found)
    names = _names(folders, results)
    sentences = [
        _sentence(names[a], names[b], difference, p, tests, f"{results[a]['identity']['dataset']} {split}", metric)
        for (a, b), difference, p in zip(pairs, found, adjusted, strict=True)
    ]
    protocols = {result["identity"]["protocol"] for result in results}
    if len(protocols) > 1:
        sentences.append(f"Note: the protocols differ ({', '.join(sorted(protocols))}).")
    return sentences


def _sentence(a: str, b: str, found: "Difference", p: float, tests: int, where: str, metric: str) -> str:
    """What was found of two models: the claim, then what it stands on.

    Args:
        p: After Holm; NaN without a test.
        tests: How many there were.
        where: Dataset and split.
    """
    from eva_core.classification.metric_names import LOWER_IS_BETTER

    if math.isnan(found.difference):
        return f"{a} and {b} cannot be compared on {where}: {metric} is not defined there, as a class is missing."
    sign = 1 if found.difference >= 0 else -1
    first, second = (a, b) if sign > 0 else (b, a)
    claim = f"{a} and {b} cannot be told apart"
    if found.told_apart(p):
        lower = metric in LOWER_IS_BETTER
        claim = f"{first} has the higher {metric} than {second}" if lower else f"{first} is better than {second}"
    unit = "patients or slides" if found.grouped else "images, image-level: optimistic"
    parts = [*_intervals(found, sign), *_tests(found, p, tests), f"{found.n_groups} {unit}"]
    return f"{claim} on {where}: {metric} differs by {abs(found.difference):.3f} ({'; '.join(parts)})."


def _intervals(found: "Difference", sign: int) -> list[str]:
    """The intervals of |A - B|, and why one is missing or not to be relied on."""
    parts = ["no interval" if found.ci95 is None else f"95 % interval {_span(found.ci95, sign)}"]
    if found.left_out:
        parts.append(f"{found.left_out:,} of 2,000 draws lack a class and are left out")
    if found.few and found.t95 is None:
        parts.append("fewer than 20 groups, of which one alone has a class: no t-interval, so no claim")
    elif found.few and found.t95 is not None:
        parts.append(f"fewer than 20 groups or runs, so rather the t-interval {_span(found.t95, sign)}")
    return parts


def _tests(found: "Difference", p: float, tests: int) -> list[str]:
    if found.p is None:
        return ["no test: one group"]
    told = f"permutation p = {found.p:.2g}" + (f", {p:.2g} after Holm for {tests} pairs" if tests > 1 else "")
    return [told, *([] if found.mcnemar_p is None else [f"McNemar p = {found.mcnemar_p:.2g}"])]


def _span(bounds: list[float], sign: int) -> str:
    low, high = sorted(sign * bound for bound in bounds)
    return f"{low:+.3f} to {high:+.3f}"


def _refuse_other_images(
    folders: list[Path], results: list[dict[str, Any]], read: Sequence[tuple[Predictions | ImageDice, list[str]]]
) -> None:
    ours, classes = read[0]
    made_on: dict[str, str] = {}
    for folder, result, (theirs, their_classes) in zip(folders, results, read, strict=True):
        # labels of images are compared, whatever the dataset is called; those of pixels are known by their hash alone
        data = "" if isinstance(theirs, ImageDice) else result["identity"]["dataset"]
        sha256 = result["identity"]["dataset_sha256"]
        if made_on.setdefault(data, sha256) != sha256 or list(theirs.groups) != list(ours.groups):
            raise UsageError(
                f"Expected results on the same images, but the files of {folder} differ from {folders[0]}."
            )
        if classes != their_classes or list(ours.ids) != list(theirs.ids) or not _same_labels(ours, theirs):
            raise UsageError(
                f"Expected results on the same images, but {folders[0]} has {len(ours.ids)} of classes "
                f"{', '.join(classes)} and {folder} {len(theirs.ids)} of {', '.join(their_classes)}, "
                "or their ids or labels differ."
            )


def _same_labels(ours: Predictions | ImageDice, theirs: Predictions | ImageDice) -> bool:
    if isinstance(ours, Predictions) and isinstance(theirs, Predictions):
        return np.array_equal(ours.targets, theirs.targets)
    return True


def _difference(one: Predictions | ImageDice, other: Any, classes: list[str], metric: str) -> "Difference":
    from eva_core.statistics.comparison import paired, paired_means

    groups = [group or None for group in one.groups]
    if isinstance(one, ImageDice):
        return paired_means(one.scores, other.scores, groups)
    return paired(one.ordered(metric), other.ordered(metric), one.targets, classes, groups, metric)


def _names(folders: list[Path], results: list[dict[str, Any]]) -> list[str]:
    """The model, with the head or the folder where that alone does not tell them apart."""
    for parts in (("model",), ("model", "head"), ("model", "head", "protocol")):
        names = [" / ".join(result["identity"][part] for part in parts) for result in results]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
