"""Where a card says that weights are, and the file that they lie in once they are here."""

from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download

from eva_core.contracts.cards import ModelCard
from eva_core.errors import UsageError
from eva_core.hub.weight_files import HubFile, held, hub_file, release_path, split_checksum, weights_address
from tests.hub import Hub


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("hf-hub:owner/fm", HubFile("owner/fm", None, "")),
        ("hf-hub:owner/fm@v1", HubFile("owner/fm", "v1", "")),
        ("hf-hub:owner/fm/below/a.safetensors", HubFile("owner/fm", None, "below/a.safetensors")),
        ("hf-hub:owner/fm@v1/a.bin", HubFile("owner/fm", "v1", "a.bin")),
    ],
)
def test_an_address_is_taken_apart(address: str, file: HubFile):
    assert hub_file(address) == file


@pytest.mark.parametrize("address", ["hf-hub:", "hf-hub:owner", "hf-hub:owner/", "hf-hub:not a/name"])
def test_what_is_no_repository_is_refused(address: str):
    with pytest.raises(UsageError, match="Expected hf-hub:owner/name"):
        hub_file(address)


def test_a_card_without_a_page_has_no_address():
    for source in ("none: random weights", "unknown", "https://github.com/owner/fm"):
        assert weights_address(ModelCard("fm", source=source)) is None
    assert weights_address(ModelCard("fm", source="https://huggingface.co/owner/fm")) == "hf-hub:owner/fm"


def test_a_checksum_is_split_off():
    assert split_checksum("https://host/a.pth#sha256=0a") == ("https://host/a.pth", "sha256:0a")
    assert split_checksum("https://host/a.pth#other") == ("https://host/a.pth", None)


def test_a_signature_does_not_change_the_place_in_the_cache(cache: Path):
    path = release_path("https://host/a.pth")
    assert path == release_path("https://host/a.pth?X-Amz-Signature=dead")
    assert path.parent == cache / "weights"


def test_what_is_held_is_found(hub: Hub, tmp_path: Path):
    url = "https://host/a.pth#md5=00"
    assert held(url) is held("hf-hub:owner/fm") is held(str(tmp_path / "a.pth")) is None
    for path in (release_path("https://host/a.pth"), tmp_path / "a.pth"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"weights")
    assert held(url) == release_path("https://host/a.pth")
    assert held(str(tmp_path / "a.pth")) == tmp_path / "a.pth"
    hub.files["owner/fm/pytorch_model.bin"] = b"weights"
    got = Path(hf_hub_download("owner/fm", "pytorch_model.bin"))
    assert held("hf-hub:owner/fm") == held("hf-hub:owner/fm/pytorch_model.bin") == got
    assert held("hf-hub:owner/fm/other.bin") is None
