"""Weights that are here, that can be fetched, that need a token, and that cannot be had."""

from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub import hf_hub_download

from eva_core.contracts.cards import ModelCard
from eva_core.errors import EvaError
from eva_core.hub.availability import Availability, Refused, ask, availability
from eva_core.hub.weight_files import release_path
from tests.hub import TOKEN, Hub

PAGE = "https://huggingface.co/owner/fm"


def found(**fields: object) -> Availability:
    return availability({"fm": ModelCard("fm", dim=8, **fields)})["fm"]  # type: ignore[arg-type]


def test_weights_of_the_hub_before_and_after_they_are_fetched(hub: Hub):
    hub.files["owner/fm/pytorch_model.bin"] = b"x" * 77
    assert found(source=PAGE) == Availability("can be fetched", 77, "hf-hub:owner/fm")
    path = hf_hub_download("owner/fm", "pytorch_model.bin")
    hub.asked.clear()
    assert found(source=PAGE) == Availability("here", 77, path)
    assert hub.asked == []


def test_weights_of_a_release_before_and_after_they_are_fetched(hub: Hub):
    hub.files["owner/fm/1/a.pth"] = b"x" * 5
    release = {"source": f"{hub.endpoint}/owner/fm", "revision": "1", "file": "a.pth#md5=00"}
    url = f"{hub.endpoint}/owner/fm/releases/download/1/a.pth"
    assert found(**release) == Availability("can be fetched", 5, url)
    release_path(url).parent.mkdir()
    release_path(url).write_bytes(b"x" * 5)
    assert found(**release) == Availability("here", 5, str(release_path(url)))


def test_a_gated_model_needs_a_token_and_access(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    hub.files["owner/fm/model.safetensors"] = b"x"
    hub.gated.add("owner/fm")
    without = found(source=PAGE, gated=True)
    assert (without.state, without.where) == ("needs a token", f"ask for access at {PAGE}, then set HF_TOKEN")
    assert hub.asked == []
    assert found(source=PAGE).state == "needs a token"  # where the card did not know it
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert found(source=PAGE, gated=True).where == f"this token has no access yet: ask for it at {PAGE}"
    hub.gated.clear()
    assert found(source=PAGE, gated=True).state == "can be fetched"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"source": "https://huggingface.co/owner/gone"}, "the hub has no repository owner/gone, or it is private"),
        ({"source": PAGE, "file": "a.pt"}, "owner/fm has none of a.pt"),
        ({"source": "http://127.0.0.1:9/owner/fm", "file": "a.pt"}, "no answer from http://127.0.0.1:9/owner/fm"),
    ],
)
def test_what_cannot_be_had_says_why(hub: Hub, fields: dict[str, str], reason: str):
    hub.files["owner/fm/model.safetensors"] = b"x"
    answer = found(**fields)
    assert answer.state == "cannot be had"
    assert answer.where.startswith(reason)
    assert "\n" not in answer.where


def test_a_hub_that_does_not_answer_and_one_that_may_not_be_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert found(source=PAGE).where.startswith("no answer from the hub (")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for fields in ({"source": PAGE}, {"source": "https://github.com/owner/fm", "file": "a.pth"}):
        assert "HF_HUB_OFFLINE is set" in found(**fields).where


def test_models_without_published_weights(hub: Hub):
    assert found(source="none: random weights from seed 0").state == "none needed"
    assert found(source="a folder").state == "by its arguments"
    answers = availability({"open": ModelCard("open", source="timm, by --model.arch"), "odd": None})
    assert [answer.state for answer in answers.values()] == ["by its arguments", "by its arguments"]


def test_a_server_is_asked_for_a_size_and_an_etag(hub: Hub, tmp_path: Path):
    hub.files["owner/fm/model.safetensors"] = b"x" * 9
    remote = ask("hf-hub:owner/fm")
    assert (remote.name, remote.size, remote.commit) == ("model.safetensors", 9, "0" * 40)
    assert remote.location.startswith(hub.endpoint)
    assert hub.asked == ["HEAD /owner/fm/resolve/main/model.safetensors"]
    hub.gated.add("owner/fm")
    with pytest.raises(Refused, match=PAGE):
        ask("hf-hub:owner/fm")
    with pytest.raises(EvaError, match="HTTP 404"):
        ask(f"{hub.endpoint}/owner/nothing/1/a.pth")
