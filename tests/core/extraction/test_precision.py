"""What a result says of the precision is what was computed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from eva_core import fit, predict
from eva_core.api import apply_heads, fit_job
from eva_core.config.jobs import job_of
from eva_core.config.protocols import load_protocol
from eva_core.errors import UsageError
from eva_core.extraction import launching
from eva_core.extraction.launching import open_fabric
from eva_core.extraction.settings import Extraction
from eva_core.store.store import Store
from eva_vision.models.timm import timm_model

CPU = Extraction(device="cpu", batch_size=8, workers=0)
STRICT = replace(load_protocol("strict"), C=(1.0,))


@pytest.fixture
def made_for_fp16():
    backbone = timm_model("test_vit")
    backbone.card = replace(backbone.card, name="half", precision="fp16")
    return backbone


def embeddings(backbone, dataset, protocol):
    store = Store(predict(backbone, dataset, protocol, CPU, lambda line: None))
    return store.read(np.arange(len(dataset.samples)))


def test_fp16_on_a_cpu_is_fp16(pictures, monkeypatch):
    backbone, seen = timm_model("test_vit"), []
    forward = backbone.forward

    def watched(images):
        seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return forward(images)

    monkeypatch.setattr(backbone, "forward", watched)
    found = {name: embeddings(backbone, pictures, replace(STRICT, precision=name)) for name in ("fp32", "bf16", "fp16")}
    assert {(True, torch.bfloat16), (True, torch.float16)} <= set(seen)
    error = {name: np.abs(values - found["fp32"]).max() for name, values in found.items()}
    assert 0 < error["fp16"] < error["bf16"] / 2


def test_a_card_that_says_fp16_runs_in_fp32_on_a_cpu_and_the_result_says_so(made_for_fp16, pictures, tmp_path):
    lines = []
    results = fit(made_for_fp16, pictures, "logreg", STRICT, tmp_path / "result", CPU, tell=lines.append)
    assert "+precision=fp32" in results["identity"]["protocol"]
    assert any("made for fp16" in line for line in lines)
    assert yaml.safe_load((tmp_path / "result" / "config.yaml").read_text())["protocol"]["precision"] == "fp32"
    asked = fit(
        made_for_fp16, pictures, "logreg", replace(STRICT, precision="fp32"), tmp_path / "asked", CPU, tell=lines.append
    )
    assert results["identity"] == asked["identity"]


def test_a_resolved_configuration_is_saved_with_the_precision_that_ran(made_for_fp16, pictures, tmp_path):
    config = yaml.safe_dump({"protocol": {"name": "strict", "precision": "card"}})
    job = job_of(made_for_fp16, pictures, "logreg", STRICT, CPU)
    fit_job(replace(job, output=tmp_path / "result", config=config), lambda line: None)
    assert yaml.safe_load((tmp_path / "result" / "config.yaml").read_text())["protocol"]["precision"] == "fp32"


def test_embeddings_that_a_gpu_left_in_the_cache_are_used(made_for_fp16, pictures, tmp_path, monkeypatch):
    by_name = replace(STRICT, precision="fp16")
    embeddings(made_for_fp16, pictures, by_name)
    results = fit(made_for_fp16, pictures, "logreg", STRICT, tmp_path / "result", CPU, tell=lambda line: None)
    assert "precision" not in results["identity"]["protocol"]


def test_heads_of_a_gpu_are_applied_to_fp16_on_a_cpu(made_for_fp16, pictures, tmp_path):
    """Here the GPU is a cache that holds fp16 of the training images, but not of the new ones."""
    embeddings(made_for_fp16, pictures, replace(STRICT, precision="fp16"))
    fit(made_for_fp16, pictures, "logreg", STRICT, tmp_path / "result", CPU, tell=lambda line: None)
    new, lines = type(pictures)(12, ("new",)), []
    apply_heads(tmp_path / "result", made_for_fp16, new, "logreg", STRICT, tmp_path / "new", CPU, lines.append)
    assert (tmp_path / "new" / "predictions.parquet").is_file()
    assert any("5 to 30 times" in line for line in lines)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_device_that_would_compute_in_another_precision_is_refused(precision, monkeypatch):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    with pytest.raises(UsageError, match="Expected a precision that cpu computes in, but got"):
        open_fabric("cpu", 1, precision)


@pytest.mark.parametrize(("device", "there", "expected"), [("cpu", 1, True), ("auto", 0, True), ("auto", 1, False)])
def test_what_auto_means(device, there, expected, monkeypatch):
    monkeypatch.setattr(launching, "gpus", lambda: there)
    assert launching.on_cpu(device) == (expected and not torch.backends.mps.is_available())
