"""`eva compare A B ...`: whether finished results differ, in a sentence each."""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from eva_core.config.argparser import Parser
from eva_core.contracts.cards import DatasetCard
from eva_core.errors import UsageError
from eva_core.results.record import read_results
from eva_core.shown import visible
from eva_core.task import task_named

if TYPE_CHECKING:
    from eva_core.contracts.results import Results
    from eva_core.statistics.comparison import Difference
    from eva_core.task import Scores


def main(argv: list[str]) -> int:
    """Run `eva compare`."""
    parser = Parser(
        prog="eva compare",
        description="Compare finished results on the same images: the difference with a 95 % interval over images and "
        "seeds, a permutation test by patient or slide, and Holm's correction where there are more than two.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="at least two folders that `eva fit` wrote")
    parser.add_argument("--metric", help="the main metric of the first unless given")
    parser.add_argument("--split", help="the main split of the first unless given")
    given = parser.parse_args(argv)
    for sentence in compare(given.results, given.metric, given.split):
        print(visible(sentence))
    return 0


def compare(folders: Sequence[str | Path], metric: str | None = None, split: str | None = None) -> list[str]:
    """Say in a sentence for each pair of finished results whether they differ.

    Args:
        folders: At least two that `fit` wrote.
        metric: The main metric of the first unless given.
        split: The main split of the first unless given.
    Returns:
        The sentences, and a note where the protocols differ.
    Raises:
        UsageError: The results are not of the same task and images, or one has no such metric or split.
    """
    from eva_core.statistics.comparison import holm

    if len(folders) < 2:
        raise UsageError(f"Expected at least two folders of results, but got {len(folders)}.")
    paths = [Path(folder) for folder in folders]
    results = [read_results(folder) for folder in paths]
    kinds = [result["task"] for result in results]
    if len(set(kinds)) > 1:
        other = next(number for number, kind in enumerate(kinds) if kind != kinds[0])
        raise UsageError(
            f"Expected results of one task, but {paths[0]} is of {kinds[0]} and {paths[other]} of {kinds[other]}."
        )
    task, main = task_named(kinds[0]), results[0]["main"]
    facts = task.metrics(DatasetCard("compared", kinds[0]))  # whoever named the dataset of a result may be anybody
    known = [name for name in facts if task.comparable(name)]
    metric = metric or (main["metric"] if main["metric"] in known else known[0])
    split = split or main["split"]
    if metric not in known:
        raise UsageError(f"Expected --metric to be one of {', '.join(known)}, but got {metric}.")
    pairs = list(combinations(range(len(paths)), 2))
    read = [task.read(folder, split) for folder in paths]
    _refuse_other_images(paths, results, read)
    differences = [read[a].compare(read[b], metric) for a, b in pairs]
    adjusted = holm([math.nan if d.p is None else d.p for d in differences])
    tests = sum(d.p is not None for d in differences)
    names, lower = _names(paths, results), not facts[metric].higher_is_better
    sentences = [
        _sentence(
            names[a], names[b], difference, p, tests, f"{results[a]['identity']['dataset']} {split}", metric, lower
        )
        for (a, b), difference, p in zip(pairs, differences, adjusted, strict=True)
    ]
    protocols = {result["identity"]["protocol"] for result in results}
    if len(protocols) > 1:
        sentences.append(f"Note: the protocols differ ({', '.join(sorted(protocols))}).")
    return sentences


def _sentence(
    a: str, b: str, difference: "Difference", p: float, tests: int, where: str, metric: str, lower: bool
) -> str:
    """Say whether two models differ: the claim, then what it stands on.

    Args:
        a: Name of the first model.
        b: Name of the second.
        difference: Score of the first less that of the second.
        p: After Holm; NaN without a test.
        tests: How many there were.
        where: Dataset and split.
        metric: Name of the metric.
        lower: Lower is better.
    """
    if math.isnan(difference.difference):
        return f"{a} and {b} cannot be compared on {where}: {metric} is not defined there, as a class is missing."
    sign = 1 if difference.difference >= 0 else -1
    first, second = (a, b) if sign > 0 else (b, a)
    claim = f"{a} and {b} cannot be told apart"
    if difference.is_significant(p):
        claim = f"{first} has the higher {metric} than {second}" if lower else f"{first} is better than {second}"
    unit = "patients or slides" if difference.grouped else "images, image-level: optimistic"
    parts = [*_intervals(difference, sign), *_tests(difference, p, tests), f"{difference.n_groups} {unit}"]
    return f"{claim} on {where}: {metric} differs by {abs(difference.difference):.3f} ({'; '.join(parts)})."


def _intervals(difference: "Difference", sign: int) -> list[str]:
    """The intervals of |A - B|, and why one is missing or not to be relied on."""
    parts = ["no interval" if difference.ci95 is None else f"95 % interval {_span(difference.ci95, sign)}"]
    if difference.left_out:
        parts.append(f"{difference.left_out:,} of 2,000 draws lack a class and are left out")
    if difference.few and difference.t95 is None:
        parts.append("fewer than 20 groups, of which one alone has a class: no t-interval, so no claim")
    elif difference.few and difference.t95 is not None:
        parts.append(f"fewer than 20 groups or runs, so rather the t-interval {_span(difference.t95, sign)}")
    return parts


def _tests(difference: "Difference", p: float, tests: int) -> list[str]:
    if difference.p is None:
        return ["no test: one group"]
    sentence = f"permutation p = {difference.p:.2g}" + (f", {p:.2g} after Holm for {tests} pairs" if tests > 1 else "")
    return [sentence, *([] if difference.mcnemar_p is None else [f"McNemar p = {difference.mcnemar_p:.2g}"])]


def _span(bounds: list[float], sign: int) -> str:
    low, high = sorted(sign * bound for bound in bounds)
    return f"{low:+.3f} to {high:+.3f}"


def _refuse_other_images(folders: list[Path], results: "list[Results]", read: Sequence["Scores"]) -> None:
    first = read[0]
    made_on: dict[str, str] = {}
    for folder, result, other in zip(folders, results, read, strict=True):
        same = first.same_truth(other) if list(first.ids) == list(other.ids) else False
        # labels that predictions hold are compared, whatever the dataset is called; others are known by their hash
        data = "" if same is None else result["identity"]["dataset"]
        sha256 = result["identity"]["dataset_sha256"]
        if made_on.setdefault(data, sha256) != sha256 or list(other.groups) != list(first.groups):
            raise UsageError(
                f"Expected results on the same images, but the files of {folder} differ from {folders[0]}."
            )
        if list(first.labels) != list(other.labels) or same is False:
            raise UsageError(
                f"Expected results on the same images, but {folders[0]} has {len(first.ids)} of classes "
                f"{', '.join(first.labels)} and {folder} {len(other.ids)} of {', '.join(other.labels)}, "
                "or their ids or labels differ."
            )


def _names(folders: list[Path], results: "list[Results]") -> list[str]:
    """The model, with the head or the folder where that alone does not tell them apart."""
    parts = [[r["identity"]["model"], r["identity"]["head"], r["identity"]["protocol"]] for r in results]
    for count in (1, 2, 3):
        names = [" / ".join(part[:count]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
