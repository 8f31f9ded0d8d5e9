"""What comes in place of a file is told apart from the file."""

import gzip
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eva_vision.impostors import faulty_archive, faulty_weights, impostor

TEXTS = {
    b"": "an empty file",
    b"<html>Please log in</html>": "a web page",
    b"\n\n  <!DOCTYPE html>\n<html lang=de>": "a web page",
    b"\xef\xbb\xbf<HTML><body>": "a web page",
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>": "a message in XML",
    b"<?xml version='1.0'?><html>": "a web page",
    b'{"error": "token expired"}': "a text",
    b"404: Not Found": "a text",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n": "a pointer of Git LFS",
    "Bitte anmelden: Größe".encode()[:-1]: "a text",
}


@pytest.mark.parametrize(("content", "said"), TEXTS.items())
def test_texts_are_told(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    for found in (impostor(path), faulty_weights(path), faulty_archive(path, ".zip"), faulty_archive(path, ".gz")):
        assert found is not None
        assert found.startswith(said)
        assert found.isprintable()


@pytest.fixture(params=["zip", "legacy", "safetensors"])
def weights(request, tmp_path: Path) -> Path:
    path, tensors = tmp_path / "w.bin", {"a": torch.rand(5000), "b": torch.rand(5)}
    if request.param == "safetensors":
        save_file(tensors, path, {"format": "pt"})
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=request.param == "zip")
    return path


def test_weights_are_none_of_these_and_cut_ones_are(weights: Path):
    assert impostor(weights) is None
    assert faulty_weights(weights) is None
    content = weights.read_bytes()
    if content[:1] == b"\x80":
        return  # a bare pickle has no end that can be looked for
    for kept in (200, len(content) // 2, len(content) - 1):
        weights.write_bytes(content[:kept])
        assert faulty_weights(weights) is not None
        assert faulty_weights(weights, whole=False) is not None


def test_a_changed_byte_of_a_zip_is_told(weights: Path):
    content = bytearray(weights.read_bytes())
    if content[:2] == b"PK":
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
        assert "damaged" in str(faulty_weights(weights))


def test_archives(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a" * 1000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(range(256)) * 100))
    (tmp_path / "a.csv").write_text("a,b\n")
    for name in ("a.zip", "a.gz", "a.csv"):
        path = tmp_path / name
        assert faulty_archive(path, path.suffix) is None
        if path.suffix != ".csv":
            path.write_bytes(path.read_bytes()[:-9])
            assert "cut short" in str(faulty_archive(path, path.suffix))
    (tmp_path / "a.csv").write_text("<html>")
    assert "a web page" in str(faulty_archive(tmp_path / "a.csv", ".csv"))
    assert "no .zip file" in str(faulty_archive(tmp_path / "a.gz", ".zip"))
