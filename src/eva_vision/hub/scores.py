"""Scores of finished results, as a page or a file on the hub states them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva_core.contracts.results import Results
from eva_core.errors import UsageError
from eva_core.results.record import read_whole_result
from eva_core.results.report import notes, number, span


@dataclass(frozen=True)
class Score:
    """The main score of a result, with what it stands on.

    Attributes:
        results: The content of results.json.
    """

    results: Results

    @property
    def value(self) -> float:
        """Mean over runs of the main metric on the main split."""
        mean = self.results["main"]["mean"]
        assert mean is not None, "`read_scores` refuses others"
        return mean

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.results["identity"]["dataset"]

    @property
    def nulls(self) -> dict[str, str]:
        """The same score of each baseline, and of chance where there is one."""
        main = self.results["main"]
        found = {
            name: number(baseline["splits"][main["split"]]["metrics"][main["metric"]]["mean"])
            for name, baseline in self.results["baselines"].items()
        }
        chance = main.get("chance")
        return found if chance is None else {**found, "chance": number(chance)}

    def sentence(self) -> str:
        """How the score was made, in a line."""
        main, identity = self.results["main"], self.results["identity"]
        runs = self.results["splits"][main["split"]]["metrics"][main["metric"]]["values"]
        nulls = "; ".join(f"{name} {value}" for name, value in self.nulls.items())
        return (
            f"{main['metric']} on {main['split']}, {identity['head']} head, protocol {identity['protocol']}, "
            f"{len(runs)} run{'s' if len(runs) > 1 else ''}, 95 % interval {span(main['ci95'])}"
            + (f"; {nulls}" if nulls else "")
            + ("; synthetic data" if self.results["synthetic"] else "")
            + f"; eva {self.results['environment'].get('eva-pathology', '?')}"
        )

    def remarks(self) -> list[str]:
        """What a reader must know beside the number, but for what it cost."""
        return notes(self.results)[:-1]


def read_scores(folders: list[Path], weights: dict[str, Any] | None = None) -> list[Score]:
    """Read finished results, each file of them checked.

    Args:
        folders: Folders that `eva fit` wrote.
        weights: Card of the export that they must be of; any model unless given.
    Raises:
        UsageError: One is of another model, or its main score is not defined.
        EvaError: One is damaged.
    """
    scores = []
    for folder in folders:
        results = read_whole_result(folder)
        if weights is not None and results["weights"].get("file_sha256") != weights["file_sha256"]:
            raise UsageError(
                f"Expected results of {weights['name']}, but {folder} is of other weights "
                f"({results['identity']['model']}). Run `eva fit` with this export, or leave it out."
            )
        if results["main"]["mean"] is None:
            raise UsageError(f"Expected a score in {folder}, but {results['main']['metric']} is not defined there.")
        scores.append(Score(results))
    return scores
