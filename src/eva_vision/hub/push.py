"""`eva push`: an export of `eva pretrain`, or a score, into a repository of the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from eva_core.config.argparser import Parser
from eva_core.errors import UsageError
from eva_core.progress import say

if TYPE_CHECKING:
    from eva_vision.hub.scores import Score

DESCRIPTION = (
    "Upload an export of `eva pretrain` with a page made from it; from then on `--model hf-hub:OWNER/NAME` works on "
    "any machine. Or add the score of a finished result to the repository of a model, as the hub's benchmarks read it."
)


def main(argv: list[str]) -> int:
    """Run `eva push`."""
    parser = Parser(prog="eva push", description=DESCRIPTION)
    parser.add_argument("folder", type=Path, help="an export of `eva pretrain`, or a folder that `eva fit` wrote")
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="repository of a model on the hub")
    parser.add_argument(
        "--results", nargs="+", type=Path, default=[], metavar="DIR", help="scores for the page of an export"
    )
    parser.add_argument(
        "--licence", metavar="ID", help="for the page, as the hub names it: apache-2.0, cc-by-nc-4.0, ..."
    )
    parser.add_argument("--private", action="store_true", help="a new repository is seen by its owners alone")
    parser.add_argument(
        "--benchmark", metavar="OWNER/DATASET[/TASK]", help="dataset of the hub whose leaderboard a score is for"
    )
    parser.add_argument("--pull_request", action="store_true", help="propose a score to the owners of the repository")
    given = parser.parse_args(argv)
    from eva_vision.hub.uploads import check_may_upload

    is_export, is_result = ((given.folder / name).is_file() for name in ("card.json", "results.json"))
    if not is_export and not is_result:
        raise UsageError(
            f"Expected an export of `eva pretrain` or a result of `eva fit`, but {given.folder} has neither card.json "
            "nor results.json."
        )
    _refuse_flags(is_export, given.__dict__)
    check_may_upload(given.repo)
    if is_export:
        _push_export(given.folder, given.repo, given.results, given.licence, given.private)
    else:
        _push_result(given.folder, given.repo, given.benchmark, given.pull_request)
    return 0


def _refuse_flags(is_export: bool, given: dict[str, object]) -> None:
    """Refuse what has no meaning for what is pushed."""
    others = ("benchmark", "pull_request") if is_export else ("results", "licence", "private")
    wrong = [f"--{name}" for name in others if given[name]]
    if wrong:
        kind = "an export" if is_export else "a result"
        raise UsageError(f"Expected no {wrong[0]} for {kind}. Leave it out.")
    if not is_export and not given["benchmark"]:
        raise UsageError(
            "Expected --benchmark OWNER/DATASET, the dataset of the hub whose leaderboard the score is for "
            "(https://huggingface.co/docs/hub/eval-results). To show it on the page of an export instead: "
            "eva push EXPORT --repo OWNER/NAME --results RESULT."
        )


def _push_export(folder: Path, repo: str, results: list[Path], licence: str | None, private: bool) -> None:
    from eva_core.hub.availability import as_size
    from eva_vision.hub.model_card import model_card
    from eva_vision.hub.scores import read_scores
    from eva_vision.hub.uploads import upload
    from eva_vision.models.exported import CARD, SLIDES, WEIGHTS, exported, read_card

    backbone = exported(str(folder))  # all that is checked before a use is checked before others get it
    content = read_card(folder)
    page = model_card(repo, folder, content, backbone.card, read_scores(results, content), licence)
    # config.yaml stays here: it says where slides lie; the page has the recipe without places
    paths = [folder / name for name in (WEIGHTS, CARD, SLIDES) if (folder / name).is_file()]
    listed = ", ".join(f"{path.name} ({as_size(path.stat().st_size)})" for path in paths)
    say(f"Uploading {listed} and README.md to {repo}.")
    files: dict[str, bytes | Path] = {**{path.name: path for path in paths}, "README.md": page.encode()}
    done = upload(repo, files, f"Export {content['name']} of eva pretrain", create=True, private=private)
    print(f"{done.url} at {done.commit}")
    say(f"On any machine: eva fit --config bach --model hf-hub:{repo}@{done.commit}")


def _push_result(folder: Path, repo: str, named: str, pull_request: bool) -> None:
    from eva_vision.hub.eval_results import benchmark, eval_results
    from eva_vision.hub.scores import read_scores
    from eva_vision.hub.uploads import upload

    (score,) = read_scores([folder])
    _refuse_other_model(score, repo)
    dataset, task = benchmark(named)
    path, text = eval_results(score, dataset, task)
    say(f"Adding {path} to {repo}: {score.value:.3f}, {score.sentence()}.")
    message = f"Score on {score.dataset}, by eva"
    done = upload(repo, {path: text}, message, pull_request=pull_request)
    print(f"{done.url} at {done.commit}")


def _refuse_other_model(score: "Score", repo: str) -> None:
    """Refuse a score of other weights than those in the repository.

    Raises:
        UsageError: Neither the source nor the SHA-256 of the weights is that of the repository.
        EvaError: The repository has no weights, or the hub does not answer.
    """
    from eva_core.hub.availability import ask
    from eva_core.hub.weight_files import HUB, hub_file

    weights = score.results["weights"]
    source = str(weights.get("source", "unknown"))
    if source.startswith(HUB) and hub_file(source).repo.casefold() == repo.casefold():
        return
    if weights.get("file_sha256") != ask(f"{HUB}{repo}").etag:
        raise UsageError(
            f"Expected a score of the weights in {repo}, but this one is of {score.results['identity']['model']} "
            f"({source}). Push to the repository of that model."
        )
