"""The same region at the same mpp by the JPEG decoder's scaling, by a level, and by area from level 0 looks alike.

Otherwise sharpness would betray the scanner. The network is a ViT-S/16 with random weights, which the proof allows: it
needs no download. Its embeddings share a large mean, so cosines are compared without it too.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eva_vision.models.baselines import random_vits16
from eva_vision.slides import Patch, open_slide
from eva_vision.slides.reading.tiff import layout_of
from eva_vision.synthetic.slides import write_phantom_slide, write_slide
from tests.vision.slides.tiffs import by_layout

SIZE = 224


@pytest.fixture(scope="module")
def backbone():
    return random_vits16(depth=4).eval()


def three_ways(path: Path, mpp: float, corners: np.ndarray) -> dict[str, list[Patch]]:
    layout = layout_of(path)
    single = replace(layout, tiles=layout.tiles[:1])
    with open_slide(path) as level, by_layout(path, single) as decoder, open_slide(path, exact=True) as exact:
        ways = {"level": level, "decoder": decoder, "exact": exact}
        return {how: [slide.read_patch(*at, SIZE, mpp) for at in corners.tolist()] for how, slide in ways.items()}


def high(patches: Sequence[Patch]) -> float:
    """Energy of luma above a quarter of the sampling rate, along either axis."""
    luma = np.stack([patch.pixels for patch in patches]) @ np.array([0.299, 0.587, 0.114])
    window = np.outer(np.hanning(SIZE), np.hanning(SIZE))
    energy = np.abs(np.fft.fft2((luma - luma.mean((1, 2), keepdims=True)) * window)) ** 2
    fine = np.abs(np.fft.fftfreq(SIZE)) >= 0.25
    return float(energy[:, fine[:, None] | fine].sum())


def check(backbone, ways: dict[str, list[Patch]], tolerance: float) -> None:
    def embed(patches):
        images = np.stack([patch.pixels for patch in patches]).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            return backbone(torch.from_numpy(images).float() / 127.5 - 1)

    exact = embed(ways["exact"])
    for how in ("level", "decoder"):
        found = embed(ways[how])
        assert torch.cosine_similarity(found, exact).min() >= 0.995
        mean = exact.mean(0)
        centred = torch.cosine_similarity((found - mean)[:, None], (exact - mean)[None], dim=2)
        assert centred.diagonal().min() >= 0.9
        assert (centred.argmax(1) == torch.arange(len(found))).all()  # nearest is the same region, not a neighbour
        assert high(ways[how]) / high(ways["exact"]) == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("mpp", [0.5, 0.75, 0.9, 1.0, 1.3, 1.5, 1.8, 2.0])
def test_a_phantom_slide(backbone, tmp_path_factory, mpp):
    """Within 6 %: it is drawn with hardly any energy at high frequencies, of which a little more is a larger share."""
    path = tmp_path_factory.getbasetemp() / "sharpness.svs"
    if not path.exists():
        write_phantom_slide(path, 3072, 3072, seed=1, quality=95)
    corners = np.random.default_rng(0).integers(80, 150, (4, 2)) * 8
    ways = three_ways(path, mpp, corners)
    assert {(patch.level, patch.reduce) for patch in ways["exact"]} == {(0, 1)}
    assert ways["decoder"][0].reduce == (2 if mpp < 1 else 4 if mpp < 2 else 8)
    assert ways["level"][0].level == (mpp >= 1)
    check(backbone, ways, 0.06)


@pytest.mark.real_data
@pytest.mark.parametrize("factor", [2, 2.4, 2.7, 3, 3.3, 3.7])
def test_a_real_slide_with_a_level_of_its_own_pixels(backbone, real_data, tmp_path, factor):
    with open_slide(real_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        pixels = slide.read(0, 0, 2208, slide.mpp)
    path = write_slide(tmp_path / "real.svs", pixels, mpp=0.5, levels=2, step=2, quality=95)
    corners = np.random.default_rng(0).integers(0, 170, (6, 2)) * 8
    ways = three_ways(path, 0.5 * factor, corners)
    assert [ways[how][0].level for how in ways] == [1, 0, 0]
    check(backbone, ways, 0.05)
