"""`eva compare A B ...`: whether finished results differ, in a sentence each."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eva_core.arguments import Parser
from eva_core.errors import UsageError
from eva_core.record import DICE, ImageDice, Predictions, read_dice, read_predictions, read_results

if TYPE_CHECKING:
    from eva_core.comparison import Difference


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="eva compare",
        description="Compare finished results on the same images: the difference with a 95 % interval, a permutation "
        "test by patient or slide, and Holm's correction where there are more than two.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="at least two folders that `eva fit` wrote")
    parser.add_argument("--metric", help="the main metric of the first unless given; for masks dice alone")
    parser.add_argument("--split", help="the main split of the first unless given")
    given = parser.parse_args(argv)
    if len(given.results) < 2:
        raise UsageError(f"Expected at least two folders of results, but got {len(given.results)}.")
    for sentence in compare(given.results, given.metric, given.split):
        print(sentence)
    return 0


def compare(folders: list[Path], metric: str | None = None, split: str | None = None) -> list[str]:
    """One sentence for each pair.

    Raises:
        UsageError: The results are not of the same task and images, or one has no such metric or split.
    """
    from eva_core.comparison import ALPHA, holm
    from eva_core.metric_names import LOWER_IS_BETTER, NAMES, SEGMENTATION

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
    adjusted = holm([1.0 if d.p is None else d.p for d in found])
    names = _names(folders, results)
    sentences = []
    for (a, b), difference, p in zip(pairs, found, adjusted, strict=True):
        first, second = (a, b) if difference.difference >= 0 else (b, a)
        size, bounds = abs(difference.difference), difference.ci95
        if bounds is not None and difference.difference < 0:
            bounds = [-bounds[1], -bounds[0]]
        verb = "has the higher" if metric in LOWER_IS_BETTER else "is better than"
        other = f"{metric} than {names[second]}" if metric in LOWER_IS_BETTER else names[second]
        claim = f"{names[first]} {verb} {other}"
        if difference.p is None or p > ALPHA:
            claim = f"{names[a]} and {names[b]} cannot be told apart"
        interval = "no interval" if bounds is None else f"95 % interval {bounds[0]:+.3f} to {bounds[1]:+.3f}"
        unit = "patients or slides" if difference.grouped else "images, image-level: optimistic"
        tests = "no test: one group" if difference.p is None else f"permutation p = {difference.p:.2g}"
        if len(pairs) > 1 and difference.p is not None:
            tests += f", {p:.2g} after Holm for {len(pairs)} pairs"
        if difference.mcnemar_p is not None:
            tests += f"; McNemar p = {difference.mcnemar_p:.2g}"
        sentences.append(
            f"{claim} on {results[a]['identity']['dataset']} {split}: {metric} differs by {size:.3f} "
            f"({interval}; {tests}; {difference.n_groups} {unit})."
        )
    protocols = {result["identity"]["protocol"] for result in results}
    if len(protocols) > 1:
        sentences.append(f"Note: the protocols differ ({', '.join(sorted(protocols))}).")
    return sentences


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


def _difference(
    one: Predictions | ImageDice, other: Predictions | ImageDice, classes: list[str], metric: str
) -> "Difference":
    from eva_core.comparison import paired, paired_means

    groups = [group or None for group in one.groups]
    if isinstance(one, ImageDice):
        return paired_means(one.scores, other.scores, groups)
    return paired(one.scores, other.scores, one.targets, classes, groups, metric)


def _names(folders: list[Path], results: list[dict[str, Any]]) -> list[str]:
    """The model, with the head or the folder where that alone does not tell them apart."""
    for parts in (("model",), ("model", "head"), ("model", "head", "protocol")):
        names = [" / ".join(result["identity"][part] for part in parts) for result in results]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
