"""Maps of patterns are those of the windows that lie there; pictures can be put into a page."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import override

from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import Geometry, ModelCard
from eva_pretrain.run import demo_pictures
from eva_vision.datasets.phantom_patterns import PhantomPatterns
from eva_vision.slides.example_slide import EXAMPLE_SLIDE
from eva_vision.synthetic.patterns import CLASSES, pattern_map
from eva_vision.synthetic.slides import write_pattern_slide

SIDE = 64
RIGHT = 2


class Means(Backbone):
    """Mean of each channel."""

    @override
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))

    @override
    def feature_map(self, images: Tensor, layers=None) -> Tensor:
        raise NotImplementedError


@pytest.fixture
def means() -> Means:
    card = ModelCard(name="means", dim=3, mean=(0, 0, 0), std=(1, 1, 1), geometry=Geometry(SIDE, SIDE), mpp=(1.0, 1.0))
    return Means(card).eval()


def test_each_window_is_embedded_in_its_place(means: Means):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 130, 3), dtype=np.uint8)
    embedded = demo_pictures.embed_windows(means, pixels, SIDE)
    assert embedded.shape == (3, 5, 3)
    for row in range(3):
        for column in range(5):
            window = pixels[16 * row : 16 * row + SIDE, 16 * column : 16 * column + SIDE]
            expected = window.reshape(-1, 3).mean(0) / 255
            np.testing.assert_allclose(embedded[row, column].numpy(), expected, atol=1e-5)


def test_answers_are_averaged_over_windows_on_tissue(monkeypatch: pytest.MonkeyPatch):
    weight = np.array([[9.0], [-9.0]], np.float32)
    params = {"weight": weight, "bias": np.zeros(2, np.float32), "centre": np.zeros(1, np.float32)}
    monkeypatch.setattr(demo_pictures, "read_heads", lambda path: (["a", "b"], {0: params}))
    embeddings, tissue = torch.ones(9, 9, 1), np.ones((9, 9), bool)
    embeddings[4, 4] = -1  # one of 25
    embeddings[:, 6:] = -1
    told = demo_pictures.told_patterns(embeddings, Path(), tissue)
    assert told[4, 4] == 0
    assert (told[:, :5] == 0).all()
    assert (told[:, 7:] == 1).all()
    tissue[:, 6:] = False
    assert (demo_pictures.told_patterns(embeddings, Path(), tissue)[:, :6] == 0).all()


def test_a_map_counts_what_is_right(means: Means, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bias = np.zeros(len(CLASSES), np.float32)
    bias[RIGHT] = 1.0
    params = {"weight": np.zeros((len(CLASSES), 3), np.float32), "bias": bias, "centre": np.zeros(3, np.float32)}
    monkeypatch.setattr(demo_pictures, "read_heads", lambda path: (list(CLASSES), {0: params}))
    monkeypatch.setattr(demo_pictures, "exported", lambda folder: means)
    slide = write_pattern_slide(tmp_path / "slide.svs", side=1024, seed=3)
    drawn, (found,) = demo_pictures.pattern_maps(slide, 3, [(tmp_path, tmp_path)])
    assert drawn.shape == found.picture.shape == (32, 32, 3)
    painted = (found.picture != 255).any(-1)
    assert painted.mean() > 0.2
    colour = np.array([0, 158, 115])  # of the one class that it knows
    assert (found.picture[painted] == colour).all()
    assert found.right == pytest.approx((drawn[painted] == colour).all(-1).mean())
    assert 0 < found.right < 1
    assert len(np.unique(pattern_map(1024, 3))) > 1


def test_a_patient_has_one_patch_of_each_class():
    dataset = PhantomPatterns(train=4, val=4, test=12)
    drawn = demo_pictures.patients(dataset, 2)
    assert [len(row) for row in drawn] == [4, 4]
    of_test = [sample for sample in dataset.samples if sample.split == "test"]
    assert (drawn[1][2] == dataset.image(of_test[6])).all()


def test_real_tissue_is_outlined_and_its_patches_framed():
    overview, patches = demo_pictures.real_tissue(EXAMPLE_SLIDE, 0.5, 3)
    assert [patch.shape for patch in patches] == [(224, 224, 3)] * 3
    pixels = np.asarray(overview)
    assert (pixels == (0, 114, 178)).all(-1).sum() > 500
    assert (pixels == (0xD5, 0x5E, 0x00)).all(-1).sum() > 500
    assert max(demo_pictures.thumbnail(EXAMPLE_SLIDE).shape) == 512


@pytest.mark.parametrize("flat", [True, False])
def test_a_picture_in_an_address_is_the_same(flat: bool):
    picture = np.full((20, 30, 3), (10, 200, 90), np.uint8)
    kind, _, content = demo_pictures.as_uri(picture, flat).partition(";base64,")
    assert kind == ("data:image/png" if flat else "data:image/jpeg")
    again = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert np.abs(again.astype(int) - picture).max() <= (0 if flat else 4)
