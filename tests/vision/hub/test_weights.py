"""Weights that are fetched ahead: they go on after a cut, and are held against what the server said."""

import hashlib
from pathlib import Path

import pytest
import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import save

from eva_core.errors import EvaError
from eva_vision import download
from eva_vision.hub.weights import fetch_weights
from tests.hub import TOKEN, Hub

BODY = save({"a": torch.arange(20_000, dtype=torch.float32)})
SHA256 = hashlib.sha256(BODY).hexdigest()


def test_the_client_of_the_hub_finds_what_was_fetched(hub: Hub, offline):
    hub.files["owner/fm/model.safetensors"] = BODY
    assert f"78 kB, SHA-256 {SHA256[:12]} as on the server" in fetch_weights("hf-hub:owner/fm").replace(
        "80 kB", "78 kB"
    )
    offline()
    assert Path(hf_hub_download("owner/fm", "model.safetensors")).read_bytes() == BODY
    assert SHA256[:12] in fetch_weights("hf-hub:owner/fm")


def test_a_download_that_was_cut_goes_on(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    hub.files["owner/fm/model.safetensors"], hub.cut_after = BODY, 30_000
    assert SHA256[:12] in fetch_weights("hf-hub:owner/fm")
    gets = [line for line in hub.asked if line.startswith("GET")]
    assert len(gets) == 3  # of 30,000 bytes each
    (blob,) = (tmp_path / "hub").rglob(SHA256)
    assert blob.read_bytes() == BODY


def test_a_revision_is_kept_apart(hub: Hub):
    hub.files["owner/fm/below/a.safetensors"] = BODY
    line = fetch_weights(f"hf-hub:owner/fm@{'a' * 40}/below/a.safetensors")
    assert f"/snapshots/{'a' * 40}/below/a.safetensors (" in line


def test_the_token_goes_to_the_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    sent = []
    monkeypatch.setattr("eva_vision.hub.weights.fetch", lambda *given, headers: sent.append(headers) or 1 / 0)
    hub.files["owner/fm/model.safetensors"] = BODY
    with pytest.raises(ZeroDivisionError):
        fetch_weights("hf-hub:owner/fm")
    assert sent == [{"Authorization": f"Bearer {TOKEN}"}]
    from eva_vision.hub.weights import _headers

    assert _headers("https://cdn.example/a?Signature=b", f"{hub.endpoint}/owner/fm") == {}


def test_what_lies_damaged_in_the_cache_is_named(hub: Hub):
    hub.files["owner/fm/model.safetensors"] = BODY
    path = Path(hf_hub_download("owner/fm", "model.safetensors"))
    path.resolve().write_bytes(BODY[:-8])
    with pytest.raises(EvaError, match=rf"Expected SHA-256 {SHA256[:12]} of .* Delete it and run again"):
        fetch_weights("hf-hub:owner/fm")


def test_a_file_of_a_release_is_checked_as_far_as_it_can_be(hub: Hub, cache: Path):
    hub.files["owner/fm/1/a.safetensors"] = BODY
    url = f"{hub.endpoint}/owner/fm/releases/download/1/a.safetensors"
    md5 = hashlib.md5(BODY).hexdigest()
    assert f"md5:{md5[:12]} as published" in fetch_weights(f"{url}#md5={md5}")
    assert "no checksum is published" in fetch_weights(url)
    assert f"SHA-256 {SHA256[:12]}" in fetch_weights(f"{url}#sha256={SHA256}")
    (path,) = (cache / "weights").glob("*.safetensors")
    path.write_bytes(b"<html>log in</html>")
    with pytest.raises(EvaError, match="Expected md5:"):
        fetch_weights(f"{url}#md5={md5}")
