"""Planted outcomes: who reads the tissue is told from who reads the stain, by nulls and by sites held out."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eva_core.api import fit
from eva_core.config.protocols import load_protocol
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import Geometry, ModelCard
from eva_core.contracts.results import Results
from eva_vision.datasets.phantom_slides import PhantomSlides
from tests.vision.slide_level.conftest import HOW

PATIENTS, SIDE, PATCH = 40, 640, 112


class Texture(Backbone):
    """Logarithm of the radial power spectrum of the grey image of unit variance: blind to colour."""

    def __init__(self) -> None:
        super().__init__(ModelCard("texture", dim=24, mean=(0, 0, 0), std=(1, 1, 1), geometry=Geometry(PATCH, PATCH)))

    def forward(self, images: Tensor) -> Tensor:
        grey = images.mean(1)
        grey = (grey - grey.mean((1, 2), keepdim=True)) / grey.std((1, 2), keepdim=True).clamp_min(1e-3)
        side = grey.shape[-1]
        frequency = torch.fft.fftfreq(side) * side
        radius = (frequency[:, None].square() + frequency.square()).sqrt()
        power = torch.fft.fft2(grey).abs().square()
        edges = torch.logspace(0, torch.tensor(side / 2).log10().item(), 25)
        rings = [(radius >= low) & (radius < high) for low, high in itertools.pairwise(edges)]
        return torch.stack([(power * ring).sum((1, 2)).log1p() for ring in rings], 1)

    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        raise NotImplementedError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that keeps the slides for all tests here."""
    return tmp_path_factory.mktemp("planted")


@pytest.fixture
def score(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVA_CACHE", str(drawn))
    strict = load_protocol("strict")
    section = replace(strict.slide_classification, heads=("mean_logreg",), size=PATCH, patches=40)
    protocol = replace(strict, slide_classification=section)

    def scored(model: Backbone | str, confounded: float, hold_out_sites: bool) -> Results:
        dataset = PhantomSlides(PATIENTS, "label", confounded, hold_out_sites, SIDE)
        return fit(model, dataset, None, protocol, tmp_path / f"{confounded}{hold_out_sites}", HOW, lambda line: None)

    return scored


def null(results: Results, name: str) -> float:
    return results["baselines"][name]["splits"]["cv"]["metrics"]["balanced_accuracy"]["mean"]


def test_a_model_of_tissue_is_above_its_nulls_also_at_sites_that_it_never_saw(score):
    results = score(Texture(), 0.0, False)
    low, _ = results["main"]["ci95"]
    assert low > max(null(results, "colour_stats"), null(results, "metadata"))
    elsewhere = score(Texture(), 0.0, True)
    assert elsewhere["main"]["ci95"][0] > 0.5
    assert "each a site that its heads never saw" in elsewhere["selection"]


def test_a_model_of_stain_scores_well_where_the_site_tells_the_label_and_its_nulls_and_sites_say_so(score):
    confounded = score("colour_stats", 0.9, False)
    low, high = confounded["main"]["ci95"]
    assert low > 0.75
    assert low <= null(confounded, "metadata") <= high  # the site alone does as well
    assert score("colour_stats", 0.9, True)["main"]["ci95"][1] < 0.5  # worse than chance where sites are held out
    assert score("colour_stats", 0.0, False)["main"]["ci95"][0] < 0.6  # nothing to read where they are not bound
