"""Commits to repositories of the Hugging Face hub; whatever stands in the way is one line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub.constants
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from eva_core.errors import EvaError, UsageError
from eva_core.hub.weight_files import hub_file
from eva_vision.models.weights import one_line

TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Uploaded:
    """What came of an upload.

    Attributes:
        url: Page of the repository, or of the pull request.
        commit: Commit that holds it.
    """

    url: str
    commit: str


def check_may_upload(repo: str) -> None:
    """Refuse at once what could not work, before anything is read or made.

    Raises:
        UsageError: The repository is not `owner/name`, or there is no token.
        EvaError: No server may be asked.
    """
    if hub_file(f"hf-hub:{repo}").repo != repo:
        raise UsageError(f"Expected --repo OWNER/NAME, but got {repo}.")
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise EvaError("Expected a network, but HF_HUB_OFFLINE is set. Unset it to upload.")
    if not get_token():
        raise UsageError(
            f"Expected a token that may write to {repo}, but there is none. Set HF_TOKEN to one of {TOKENS}."
        )


def upload(
    repo: str,
    files: Mapping[str, bytes | Path],
    message: str,
    create: bool = False,
    private: bool = False,
    pull_request: bool = False,
) -> Uploaded:
    """Commit files to a repository, all or none.

    Args:
        repo: `owner/name`.
        files: Content, or a file that has it, by path in the repository.
        message: First line of the commit.
        create: Make the repository where there is none.
        private: Let only its owners see a repository that is made.
        pull_request: Propose the files to the owners, and change nothing.
    Raises:
        EvaError: The token may not, the repository is not there, or nobody answers.
    """
    additions = [CommitOperationAdd(path, content) for path, content in files.items()]
    try:
        api = HfApi()
        if create:
            api.create_repo(repo, private=private or None, exist_ok=True)
        done = api.create_commit(repo, additions, commit_message=message, create_pr=pull_request)
    except Exception as error:  # the hub's client lets its HTTP library's errors through
        raise EvaError(_explained(error, repo, pull_request)) from error
    page = f"{api.endpoint}/{repo}"
    return Uploaded(done.pr_url or page, done.oid)


def _explained(error: Exception, repo: str, pull_request: bool) -> str:
    """Say in a line why an upload failed, and what to do."""
    code = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if code == 401 and not isinstance(error, RepositoryNotFoundError):
        return f"The hub does not accept this token. Set HF_TOKEN to one of {TOKENS} that may write to {repo}."
    if code in (401, 404):
        return f"There is no repository {repo} that this token may see. Check --repo, or push the export there first."
    if code == 403:
        instead = "" if pull_request else ", or propose scores with --pull_request"
        return f"This token may not write to {repo}. Push to a repository of yours{instead}."
    reason = one_line(str(error), error)
    return f"Nothing was committed to {repo} ({reason}). Check the network and {huggingface_hub.constants.ENDPOINT}."
