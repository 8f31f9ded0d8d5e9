"""`eva compare A B ...`: whether finished results differ, in a sentence each."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from eva_core.arguments import Parser
from eva_core.errors import UsageError
from eva_core.record import Predictions, read_predictions, read_results


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="eva compare",
        description="Compare finished results on the same images: the difference with a 95 % interval, a permutation "
        "test by patient or slide, and Holm's correction where there are more than two.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="at least two folders that `eva fit` wrote")
    parser.add_argument("--metric", help="the main metric of the first unless given")
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
        UsageError: The results are not of the same images, or one has no such metric or split.
    """
    from eva_core.comparison import ALPHA, holm, paired
    from eva_core.metric_names import LOWER_IS_BETTER, NAMES

    results = [read_results(folder) for folder in folders]
    metric, split = metric or results[0]["main"]["metric"], split or results[0]["main"]["split"]
    if metric not in NAMES:
        raise UsageError(f"Expected --metric to be one of {', '.join(NAMES)}, but got {metric}.")
    read = [read_predictions(folder, split) for folder in folders]
    made_on = {r["identity"]["dataset"]: r["identity"]["dataset_sha256"] for r in reversed(results)}
    for folder, result, (predictions, classes) in zip(folders[1:], results[1:], read[1:], strict=True):
        identity = result["identity"]
        if made_on[identity["dataset"]] != identity["dataset_sha256"] or list(predictions.groups) != list(
            read[0][0].groups
        ):
            raise UsageError(
                f"Expected results on the same images, but the files of {folder} differ from {folders[0]}."
            )
        _refuse_other_images(folders[0], *read[0], folder, predictions, classes)
    targets, classes = read[0][0].targets, read[0][1]
    groups = [group or None for group in read[0][0].groups]
    pairs = list(combinations(range(len(folders)), 2))
    found = [paired(read[a][0].scores, read[b][0].scores, targets, classes, groups, metric) for a, b in pairs]
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
    first: Path, ours: Predictions, classes: list[str], other: Path, theirs: Predictions, their_classes: list[str]
) -> None:
    if (
        classes != their_classes
        or list(ours.ids) != list(theirs.ids)
        or not np.array_equal(ours.targets, theirs.targets)
    ):
        raise UsageError(
            f"Expected results on the same images, but {first} has {len(ours.ids)} of classes {', '.join(classes)} "
            f"and {other} {len(theirs.ids)} of {', '.join(their_classes)}, or their ids or labels differ."
        )


def _names(folders: list[Path], results: list[dict[str, Any]]) -> list[str]:
    """The model, with the head or the folder where that alone does not tell them apart."""
    for parts in (("model",), ("model", "head"), ("model", "head", "protocol")):
        names = [" / ".join(result["identity"][part] for part in parts) for result in results]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
