"""Commits to a hub, and the line that says why there is none."""

import pytest

from eva_core.errors import EvaError, UsageError
from eva_vision.hub.uploads import check_may_upload, upload
from tests.hub import Hub

FILES = {"a.txt": b"small", "below/b.safetensors": b"large"}


def test_small_and_large_files_are_one_commit(hub: Hub, token: str):
    done = upload("me/fm", FILES, "Files", create=True)
    assert (done.url, len(done.commit)) == (f"{hub.endpoint}/me/fm", 40)
    assert {name: hub.files[f"me/fm/{name}"] for name in FILES} == FILES
    assert hub.commits[0]["summary"] == "Files"
    assert hub.private == set()
    upload("me/fm", {"a.txt": b"again"}, "More", create=True)  # it is there by now
    assert hub.files["me/fm/a.txt"] == b"again"


def test_a_pull_request_changes_nothing(hub: Hub, token: str):
    hub.files["them/fm/a.txt"] = b"theirs"
    done = upload("them/fm", FILES, "Files", pull_request=True)
    assert done.url == f"{hub.endpoint}/them/fm/discussions/1"
    assert hub.files["them/fm/a.txt"] == b"theirs"


def test_a_repository_that_is_not_there_or_not_ours(hub: Hub, token: str):
    with pytest.raises(EvaError, match="There is no repository them/gone that this token may see"):
        upload("them/gone", FILES, "Files")
    hub.files["them/fm/a.txt"] = b"theirs"
    with pytest.raises(EvaError, match=r"may not write to them/fm\. Push to a repository of yours, or propose"):
        upload("them/fm", FILES, "Files")
    with pytest.raises(EvaError, match="may not write to them/new"):
        upload("them/new", FILES, "Files", create=True)


def test_a_token_is_asked_for_before_anything_is_done(hub: Hub):
    with pytest.raises(UsageError, match=r"there is none. Set HF_TOKEN to one of https://huggingface\.co"):
        check_may_upload("me/fm")
    assert hub.asked == []


def test_with_a_token_there_is_nothing_to_say(hub: Hub, token: str):
    check_may_upload("me/fm")
