"""`eva download`: sizes first, then weights and datasets, each as far as it can be had."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from eva_core import registry
from eva_core.cli import main
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.download import Remote, obtain
from eva_vision.hub.download import _root_of
from tests.conftest import Pictures
from tests.hub import Hub

BODY = save({"a": torch.ones(500)})


def downloaded(capsys: pytest.CaptureFixture, *argv: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(["download", *argv]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture
def dataset(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """A dataset of one file, on the hub's server."""
    hub.files["owner/data/labels.csv"] = b"id,label\n"

    class Tiny(Pictures):
        card = DatasetCard("tiny_files", classes=("a", "b"), licence="CC0", access="--dataset.download true")
        remotes = (Remote(f"{hub.endpoint}/owner/data/raw/1/labels.csv", "labels.csv"),)

        def __init__(self, root: str, download: bool = False) -> None:
            if download:
                obtain(self.card, self.remotes, Path(root))
            assert (Path(root) / "labels.csv").is_file()
            self.samples = [Sample("s", "train", 0)]

    monkeypatch.setattr(registry.datasets, "_registered", {})
    registry.datasets.register("tiny_files")(Tiny)
    return "tiny_files"


def test_several_names_and_their_sizes_first(hub: Hub, dataset: str, capsys: pytest.CaptureFixture):
    hub.files["owkin/phikon/model.safetensors"] = BODY
    out, err = downloaded(capsys, "phikon", dataset, "colour_stats", "phantom")
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "TO", "COME", "LICENCE", "WHERE"]
    assert lines[1].split()[:3] == ["phikon", "2.1", "kB"]
    assert lines[2].split()[:3] == ["tiny_files", "9", "bytes"]
    assert lines[2].endswith("data/tiny_files")
    assert "SHA-256" in lines[5]
    assert lines[6] == "tiny_files: 1 samples in data/tiny_files, as published"
    assert lines[7:] == ["colour_stats: nothing to fetch", "phantom: nothing to fetch"]
    assert err.splitlines()[0] == "To come: 2.1 kB."
    assert Path("data/tiny_files/labels.csv").is_file()
    again, _ = downloaded(capsys, "phikon", dataset)
    assert [line.split()[1] for line in again.splitlines()[1:3]] == ["here", "here"]


def test_what_cannot_be_had_does_not_stop_the_others(hub: Hub, dataset: str, capsys: pytest.CaptureFixture):
    hub.gated.add("MahmoodLab/UNI2-h")
    hub.files["MahmoodLab/UNI2-h/model.safetensors"] = BODY
    out, err = downloaded(capsys, "uni2_h", "bracs", "phikon", "timm_model", dataset, "--root", "elsewhere", code=2)
    assert "Expected one dataset with --root" in err
    out, err = downloaded(capsys, "uni2_h", "bracs", "phikon", "timm_model", dataset, code=1)
    assert "uni2_h: ask for access at https://huggingface.co/MahmoodLab/UNI2-h, then set HF_TOKEN" in err
    assert "To get it: register at https://www.bracs.icar.cnr.it" in err
    assert "the hub has no repository owkin/phikon" in err
    assert "timm_model: Expected a card that names a file" in err
    assert "Not fetched: uni2_h, bracs, phikon, timm_model" in err
    assert "tiny_files: 1 samples" in out


def test_a_root_and_a_size_that_no_server_says(hub: Hub, dataset: str, capsys: pytest.CaptureFixture):
    del hub.files["owner/data/labels.csv"]
    out, err = downloaded(capsys, dataset, "--root", "elsewhere", code=1)
    assert out.splitlines()[1].split()[:2] == ["tiny_files", "?"]
    assert "To come: 0 bytes, and tiny_files, of which no server says the size." in err
    assert "HTTP 404" in err
    hub.files["owner/data/labels.csv"] = b"id\n"
    assert "in elsewhere, as published" in downloaded(capsys, dataset, "--root", "elsewhere")[0]


def test_an_export_on_the_hub_is_fetched_whole(hub: Hub, export_folder: Path, offline, capsys):
    hub.files |= {f"me/fm/{path.name}": path.read_bytes() for path in export_folder.iterdir()}
    out, _ = downloaded(capsys, "hf-hub:me/fm")
    assert "tiny-3f2a91c0, commit 0000000" in out
    offline()
    assert main(["models", "hf-hub:me/fm"]) == 0
    assert "here" in downloaded(capsys, "hf-hub:me/fm")[0]


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(hub, dataset, capsys, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    _, err = downloaded(capsys, dataset, code=1)
    assert "Expected room for 9 bytes, but the disk of" in err
    assert not Path("data").exists()


def test_a_name_that_is_unknown_is_answered(hub: Hub, capsys: pytest.CaptureFixture):
    assert "Did you mean phikon" in downloaded(capsys, "phicon", code=2)[1]
    assert "`eva models` and `eva datasets` list them" in downloaded(capsys, "zzzzzzzz", code=2)[1]


def test_a_dataset_goes_where_its_config_looks(monkeypatch: pytest.MonkeyPatch):
    assert _root_of("bach") == Path("data/bach")
    monkeypatch.setenv("DATA_ROOT", "/scratch")
    assert _root_of("crc_nonorm") == Path("/scratch/crc_nonorm")
    assert _root_of("of_a_plugin") == Path("/scratch/of_a_plugin")
