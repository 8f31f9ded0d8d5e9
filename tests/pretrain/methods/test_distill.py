"""Distillation: what the student is compared with, what is no part of the state, and a run with its export."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eva_core import registry
from eva_core.errors import EvaError, UsageError
from eva_pretrain.augment.views import Crops, Views
from eva_pretrain.data.seen_images import images_seen
from eva_pretrain.methods.base import Setup
from eva_pretrain.methods.distill import Distill
from eva_pretrain.network.vit import Architecture
from eva_pretrain.optimisation.recipe import Recipe
from eva_pretrain.run.config import parse
from eva_pretrain.run.pretrain import pretrain
from eva_vision.models.exported import exported, read_images
from eva_vision.models.timm import timm_model
from tests.pretrain.run.test_pretrain import TINY

STUDENT = Architecture("vit_tiny_patch16_224", 32, {"depth": 1, "embed_dim": 24, "num_heads": 2})
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry.models, "_registered", {})

    @registry.models.register("tiny_fm")
    def tiny_fm():
        """ViT of one block, of other pixels and another size than the student's."""
        small = {"depth": 1, "embed_dim": 36, "num_heads": 2}
        return timm_model("vit_tiny_patch16_224", size=48, mean=MEAN, std=STD, **small)


def make(**arguments) -> Distill:
    setup = Setup(STUDENT, Views(global_size=32, local_size=16, local_crops=2), Recipe(steps=4), batch_size=3)
    return Distill(setup, "tiny_fm", hidden=16, **arguments)


def crops() -> Crops:
    rng = torch.Generator().manual_seed(0)
    return Crops(torch.rand(6, 3, 32, 32, generator=rng) - 0.5, torch.rand(6, 3, 16, 16, generator=rng) - 0.5)


def test_terms_are_distances_from_what_the_frozen_model_says():
    method, (global_, local) = make(patches=0.5), crops()
    pixels = F.interpolate(global_ * 0.5 + 0.5, (48, 48), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        images = (pixels - mean) / std
        embeddings, maps = method.frozen(images), method.frozen.feature_map(images)
        maps = F.interpolate(maps, (2, 2), mode="bilinear", antialias=True).flatten(2).mT
        heads, tokens = method.student.heads, method.student.vit(global_)
        cls, patches = heads["dino"](tokens.cls), heads["ibot"](tokens.patches)
        locals_ = heads["dino"](method.student.vit(local).cls)
        both = embeddings.view(2, 3, -1).mean(0).repeat(2, 1)
    terms = method.losses(crops(), 0.05)  # the centres begin at 0
    for name, a, b in (("embedding", cls, embeddings), ("local", locals_, both), ("patches", patches, maps)):
        distance = 1 - F.cosine_similarity(a.double(), b.double(), dim=-1).mean()
        weight = 0.5 if name == "patches" else 1
        assert terms[name].item() == pytest.approx(weight * distance.item(), abs=1e-5), name
    centre = method.centrings["dino"].centre[0]
    torch.testing.assert_close(centre, 0.1 * embeddings.mean(0))
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in method.student.parameters())


def test_the_frozen_model_is_no_part_of_the_state():
    method = make(patches=0.0).train()
    assert set(method.losses(crops(), 0.05)) == {"embedding", "local"}
    assert not method.frozen.training
    assert method.teachers is None  # so that no share of the peak is claimed
    assert not any(p.requires_grad for p in method.frozen.parameters())
    assert {name.partition(".")[0] for name in method.state_dict()} == {"student", "teacher", "centrings"}


def test_a_run_ends_in_an_export_of_the_student(patches, tmp_path, capfd):
    more = ["--method", "distill", "--method.backbone", "tiny_fm", "--method.hidden", "16", "--steps", "2"]
    words = [*TINY[:6], "--vit.arguments={depth: 1, embed_dim: 24, num_heads: 2}", *TINY[13:]]
    export = pretrain(parse([*words, "--folder", str(patches), "--output", str(tmp_path), *more]))
    assert exported(str(export)).card.dim == 24
    assert "Distilling tiny_fm, licence unknown" in "".join(capfd.readouterr())
    second = ["--method.backbone", str(tmp_path), "--seed", "1", "--steps", "1"]  # the run, for its export
    taught = pretrain(parse([*words, "--folder", str(patches), "--output", str(tmp_path / "next"), *more, *second]))
    assert read_images(taught) == images_seen(tmp_path / "next")
    hashes = {str(each): {*np.frombuffer(read_images(each), "<u8").tolist()} for each in (export, taught)}
    assert hashes[str(export)] < hashes[str(taught)]  # and those of its own


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"backbone": ""}, "Expected backbone, such as uni, but got none"),
        ({"patches": -1.0}, "patches of at least 0"),
        ({"size": 40}, "multiple of the patch of 16 px of tiny_fm, but got 40"),
    ],
)
def test_settings_that_make_no_sense(arguments, said):
    setup = Setup(STUDENT, Views(global_size=32, local_size=16), Recipe(), batch_size=3)
    with pytest.raises(UsageError, match=said):
        Distill(setup, **{"backbone": "tiny_fm", **arguments})


def test_a_frozen_model_in_half_precision_is_one_in_float32():
    def tiny():
        return timm_model("vit_tiny_patch16_224", size=32, depth=1, embed_dim=36, num_heads=2)

    registry.models.register("half_fm")(lambda: tiny().bfloat16())
    method = Distill(make().setup_, "half_fm", hidden=16)
    assert {p.dtype for p in method.frozen.parameters()} == {torch.float32}
    assert all(term.isfinite() for term in method.losses(crops(), 0.05).values())

    def broken():
        backbone = tiny()
        backbone.network.norm.weight.data[0] = torch.nan
        return backbone

    registry.models.register("nan_fm")(broken)
    with pytest.raises(EvaError, match="Expected finite features of nan_fm, but it gives NaN"):
        Distill(make().setup_, "nan_fm", hidden=16)
