"""`eva push`: what comes to lie in a repository, that it can be used from there, and what is said where it cannot."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from eva_core.cli import main
from eva_core.registry import build_model
from tests.hub import COMMIT, Hub
from tests.vision.hub.conftest import NAME

QUICK = ["--protocol.steps", "20", "--protocol.runs", "2", "--device", "cpu", "--workers", "0"]


@pytest.fixture
def result(export_folder: Path, tree: Path, tmp_path: Path) -> Path:
    data = ["--dataset", "folder", "--dataset.root", str(tree), *QUICK]
    assert main(["fit", "--model", str(export_folder), *data, "--output", str(tmp_path / "result")]) == 0
    return tmp_path / "result"


def said(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """The one line in which `eva push` fails."""
    capsys.readouterr()
    assert main(["push", *argv]) in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("eva: ")]
    assert len(lines) == 1
    return lines[0]


def test_an_export_and_its_scores_are_one_commit(hub: Hub, token: str, export_folder: Path, result: Path, capsys):
    given = ["--repo", "me/fm", "--results", str(result), "--licence", "apache-2.0", "--private"]
    assert main(["push", str(export_folder), *given]) == 0
    (commit,) = hub.commits
    assert commit["files"].keys() == {
        "README.md",
        "card.json",
        "model.safetensors",
        "slides.json",
    }
    assert commit["files"]["model.safetensors"] == (export_folder / "model.safetensors").read_bytes()
    assert hub.private == {"me/fm"}
    out = capsys.readouterr()
    assert f"{hub.endpoint}/me/fm at " in out.out
    assert "model.safetensors (" in out.err
    page = ModelCard(commit["files"]["README.md"].decode())
    assert (page.data.license, page.data.library_name) == ("apache-2.0", "timm")
    (entry,) = page.data.eval_results or []
    main_score = json.loads((result / "results.json").read_text())["main"]
    assert entry.metric_value == round(main_score["mean"], 6)
    assert "95 % interval" in str(entry.metric_name)


def test_it_is_a_model_on_another_machine(hub: Hub, token: str, offline, export_folder: Path, tree: Path, capsys):
    assert main(["push", str(export_folder), "--repo", "me/fm"]) == 0
    before = build_model(str(export_folder)).eval()
    shutil.rmtree(export_folder)
    data = ["--dataset", "folder", "--dataset.root", str(tree), *QUICK]
    assert main(["fit", "--model", "hf-hub:me/fm", *data, "--output", "elsewhere"]) == 0
    content = json.loads(Path("elsewhere/results.json").read_text())
    assert content["identity"]["model"] == NAME
    assert content["weights"] == {
        "source": "hf-hub:me/fm",
        "revision": COMMIT,
        "file_sha256": before.provenance["file_sha256"],
    }
    assert (content["card"]["source"], content["card"]["revision"]) == ("https://huggingface.co/me/fm", COMMIT)
    assert yaml.safe_load(Path("elsewhere/config.yaml").read_text())["model"]["init_args"] == {"folder": "hf-hub:me/fm"}
    offline()  # from now on from the cache
    for address in ("hf-hub:me/fm", f"hf-hub:me/fm@{COMMIT}"):
        again = build_model(address).eval()
        images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.equal(before(images), again(images))
        assert again.arguments == before.arguments  # the same model, whose embeddings are found again
    assert main(["models", "hf-hub:me/fm"]) == 0
    assert f"revision       {COMMIT}" in capsys.readouterr().out


def test_a_score_is_what_the_hub_s_own_client_reads(hub: Hub, token: str, export_folder: Path, result: Path):
    assert main(["push", str(export_folder), "--repo", "me/fm"]) == 0
    hub.files["datasets/owner/tissue/eval.yaml"] = yaml.safe_dump({"tasks": [{"id": "tree"}]}).encode()
    assert main(["push", str(result), "--repo", "me/fm", "--benchmark", "owner/tissue"]) == 0
    ((path, content),) = hub.commits[-1]["files"].items()
    assert path.startswith(".eval_results/folder_linear_")
    (entry,) = parse_eval_result_entries(yaml.safe_load(content))
    assert (entry.dataset_id, entry.task_id) == ("owner/tissue", "tree")
    assert entry.value == round(json.loads((result / "results.json").read_text())["main"]["mean"], 6)
    assert "95 % interval" in str(entry.notes)


def test_a_score_can_be_proposed_to_others(hub: Hub, token: str, export_folder: Path, result: Path, capsys):
    hub.files |= {f"them/fm/{path.name}": path.read_bytes() for path in export_folder.iterdir()}
    hub.files["datasets/owner/tissue/eval.yaml"] = yaml.safe_dump({"tasks": [{"id": "a"}, {"id": "b"}]}).encode()
    given = [str(result), "--repo", "them/fm", "--benchmark"]
    assert "its tasks (a, b), but got no task" in said(capsys, *given, "owner/tissue")
    assert "may not write to them/fm" in said(capsys, *given, "owner/tissue/b")
    assert "--pull_request" in said(capsys, *given, "owner/tissue/b")
    assert main(["push", *given, "owner/tissue/b", "--pull_request"]) == 0
    assert f"{hub.endpoint}/them/fm/discussions/1" in capsys.readouterr().out
    assert hub.commits[-1]["pull_request"]


def test_scores_of_other_weights_are_refused(hub: Hub, token: str, export_folder: Path, tree: Path, capsys):
    data = ["--dataset", "folder", "--dataset.root", str(tree), *QUICK]
    assert main(["fit", "--model", "colour_stats", *data, "--output", "other"]) == 0
    message = said(capsys, str(export_folder), "--repo", "me/fm", "--results", "other")
    assert "but other is of other weights (colour_stats)" in message
    hub.files["me/fm/model.safetensors"] = b"weights"
    hub.files["datasets/owner/tissue/eval.yaml"] = b"tasks: [{id: a}]"
    assert "this one is of colour_stats" in said(capsys, "other", "--repo", "me/fm", "--benchmark", "owner/tissue")
    assert hub.commits == []


def test_what_stands_in_the_way_is_one_line(hub: Hub, export_folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    folder = str(export_folder)
    assert "Expected a token that may write to me/fm" in said(capsys, folder, "--repo", "me/fm")
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    assert "does not accept this token" in said(capsys, folder, "--repo", "me/fm")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    assert "may not write to them/fm" in said(capsys, folder, "--repo", "them/fm")
    assert "Expected hf-hub:owner/name" in said(capsys, folder, "--repo", "fm")
    assert "Expected --repo OWNER/NAME, but got me/fm/x" in said(capsys, folder, "--repo", "me/fm/x")
    assert "Expected no --benchmark for an export" in said(capsys, folder, "--repo", "me/fm", "--benchmark", "a/b")
    assert "neither card.json nor results.json" in said(capsys, str(export_folder.parent), "--repo", "me/fm")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "Nothing was committed to me/fm" in said(capsys, folder, "--repo", "me/fm")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in said(capsys, folder, "--repo", "me/fm")
    (export_folder / "model.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert "cut short" in said(capsys, folder, "--repo", "me/fm")
    assert hub.commits == []


def test_a_score_needs_a_benchmark_that_is_one(hub: Hub, token: str, result: Path, export_folder: Path, capsys):
    given = [str(result), "--repo", "me/fm"]
    assert "Expected --benchmark OWNER/DATASET" in said(capsys, *given)
    assert "Expected no --licence for a result" in said(capsys, *given, "--licence", "mit", "--benchmark", "a/b")
    hub.files |= {f"me/fm/{path.name}": path.read_bytes() for path in export_folder.iterdir()}
    hub.files["datasets/owner/tissue/README.md"] = b""
    assert "has no eval.yaml" in said(capsys, *given, "--benchmark", "owner/tissue")
    assert "Cannot get eval.yaml of dataset owner/gone" in said(capsys, *given, "--benchmark", "owner/gone")
