"""Exports that lie on a hub: fetched as data, of one commit, and refused where there is none."""

from pathlib import Path

import pytest

from eva_core.errors import EvaError, UsageError
from eva_vision.models.hub_exports import fetch_export
from eva_vision.models.weights import from_hub
from tests.hub import COMMIT, Hub

FILES = {"card.json": b"{}", "slides.json": b"[]", "model.safetensors": b"weights"}
NEEDED = tuple(FILES)


@pytest.fixture
def published(hub: Hub) -> Hub:
    hub.files |= {f"me/fm/{name}": content for name, content in FILES.items()}
    return hub


def test_the_files_of_an_export_are_of_one_commit(published: Hub):
    got = fetch_export("hf-hub:me/fm", NEEDED, ("config.yaml",))
    assert (got.repo, got.commit) == ("me/fm", COMMIT)
    assert {path.name: path.read_bytes() for path in got.folder.iterdir()} == FILES
    asked = {line.split("/resolve/")[1] for line in published.asked if line.startswith("GET")}
    assert asked == {"main/card.json", f"{COMMIT}/slides.json", f"{COMMIT}/model.safetensors"}


def test_a_revision_can_be_named_and_the_cache_needs_no_network(published: Hub, offline):
    published.files["me/fm/config.yaml"] = b"name: fm"
    for _ in range(2):
        got = fetch_export(f"hf-hub:me/fm@{'a' * 40}", NEEDED, ("config.yaml",))
        assert got.commit == "a" * 40
        assert (got.folder / "config.yaml").is_file()
        offline()


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("hf-hub:me/gone", EvaError, "Cannot get hf-hub:me/gone/card.json"),
        ("hf-hub:me", UsageError, "Expected hf-hub:owner/name"),
        ("hf-hub:me/fm/card.json", UsageError, "leave the file out"),
        ("hf-hub:me/other", UsageError, "has no card.json. For weights of timm: --model timm_model"),
        ("hf-hub:me/closed", EvaError, "me/closed is gated: ask for access"),
    ],
)
def test_what_is_no_export_is_one_line(published: Hub, address: str, kind: type, message: str):
    published.files |= {"me/other/model.safetensors": b"weights", "me/closed/card.json": b"{}"}
    published.gated.add("me/closed")
    with pytest.raises(kind) as caught:
        fetch_export(address, NEEDED)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_network_weights_that_came_without_a_card_are_no_export(published: Hub, offline):
    published.files["timm/vit/model.safetensors"] = b"weights"
    from_hub("hf-hub:timm/vit")
    offline()
    with pytest.raises(UsageError, match=r"has no card\.json"):
        fetch_export("hf-hub:timm/vit", NEEDED)


def test_an_export_that_is_not_whole_is_named(published: Hub, tmp_path: Path):
    del published.files["me/fm/slides.json"]
    with pytest.raises(EvaError, match=rf"Cannot get hf-hub:me/fm@{COMMIT}/slides\.json"):
        fetch_export("hf-hub:me/fm", NEEDED)
