"""A curve of two models on made-up patients, fitted once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from eva_core.config.jobs import job_of
from eva_core.config.protocols import load_protocol
from eva_core.curves.curve import Plan, curve
from eva_core.curves.schema import Curve
from eva_core.extraction.settings import Extraction
from eva_core.job import Job
from eva_vision.heads.neighbours import Knn
from eva_vision.models.timm import timm_model
from tests.conftest import Pictures

HOW = Extraction(device="cpu", workers=0)
SHARES = (0.3, 1.0)


def job(model: str, **protocol: object) -> Job:
    """A quick fit of a head without training."""
    built = timm_model("test_vit", size=32, depth=1) if model == "tiny" else model
    return job_of(built, Pictures(150), Knn((1, 3)), replace(load_protocol("strict"), **protocol), HOW, name=model)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Curve, Path]:
    """The curve, and a folder with its points in `out` and its stores in `cache`."""
    root = tmp_path_factory.mktemp("curve")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(root / "cache"))
        return curve([job("colour_stats"), job("tiny")], Plan(SHARES, 2, root / "out"), lambda _: None), root


@pytest.fixture
def stores(made: tuple[Curve, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Job]:
    """Makes jobs whose stores are there."""
    monkeypatch.setenv("EVA_CACHE", str(made[1] / "cache"))
    return job
