"""Three whole steps of DINOv2, forward and backward, against the official code's."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from eva_core.errors import UsageError
from eva_pretrain.augment.views import Crops, Views
from eva_pretrain.methods.base import Setup
from eva_pretrain.methods.dinov2 import DinoV2
from eva_pretrain.network.vit import Architecture
from eva_pretrain.optimisation.recipe import Recipe
from tests.pretrain.references import dinov2
from tests.pretrain.run.test_pretrain import run

ARCHITECTURE = Architecture(
    "vit_tiny_patch16_224",
    size=32,
    arguments={
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 3,
        "mlp_ratio": 2.0,
        "init_values": 0.1,
        "reg_tokens": 2,
        "no_embed_class": True,
    },
    official_positions=True,
)
STEPS = {"sk_sep": ("sinkhorn", True), "center_sep": ("centring", True), "sk_shared": ("sinkhorn", False)}
WEIGHTS = {"sk_sep": "step", "center_sep": "step", "sk_shared": "step_sk_shared"}


def translated(prefix: str) -> dict[str, Tensor]:
    """Official names to ours; timm adds the class token's position to the class token."""
    state = {k.removeprefix(prefix): torch.from_numpy(v).float() for k, v in dinov2().items() if k.startswith(prefix)}
    positions = state.pop("backbone.pos_embed")
    state["backbone.cls_token"] += positions[:, :1]
    state["backbone.pos_embed"] = positions[:, 1:]
    return {_ours(name): tensor for name, tensor in state.items()}


def _ours(name: str) -> str:
    if name == "backbone.mask_token":
        return "vit.mask_token"
    name = name.replace("backbone.register_tokens", "backbone.reg_token").replace("backbone.", "vit.network.")
    for head in ("dino", "ibot"):
        name = name.replace(f"{head}_head.", f"heads.{head}.")
    return name.replace("weight_g", "gain").replace("weight_v", "direction")


def make(step: str) -> DinoV2:
    targets, ibot_head = STEPS[step]
    setup = Setup(ARCHITECTURE, Views(global_size=ARCHITECTURE.size), Recipe(), batch_size=4)
    method = DinoV2(setup, prototypes=24, hidden=32, bottleneck=12, ibot_head=ibot_head, targets=targets)
    if ibot_head:  # the reference has heads of two sizes
        from eva_pretrain.losses.teacher_targets import Centring
        from eva_pretrain.network.projection_head import Head

        for network in (method.student, method.teacher):
            network.heads["ibot"] = Head(24, 20, 32, 12, gain=True)
        method.patch_centring = Centring(20)
    for name, network in (("student", method.student), ("teacher", method.teacher)):
        network.load_state_dict(translated(f"{WEIGHTS[step]}_{name}/"))
    method.teacher.requires_grad_(False)
    return method


def crops() -> tuple[Crops, Tensor]:
    z = dinov2()
    views = Crops(*(torch.from_numpy(z[f"step_{name}_crops"]).float() for name in ("global", "local")))
    return views, torch.from_numpy(z["step_masks"])


def test_tokens():
    z, method, (views, masked) = dinov2(), make("sk_sep"), crops()
    with torch.no_grad():
        seen = method.student.vit(views.global_, masked)
        np.testing.assert_allclose(seen.cls, z["step_student_global_cls"], atol=1e-5)
        np.testing.assert_allclose(seen.patches, z["step_student_global_patch"].astype(np.float32), atol=2e-3)
        np.testing.assert_allclose(method.student.vit(views.local).cls, z["step_student_local_cls"], atol=1e-5)
        np.testing.assert_allclose(method.teacher.vit(views.global_).cls, z["step_teacher_global_cls"], atol=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_a_step(step):
    z, method, (views, masked) = dinov2(), make(step), crops()
    terms = method.losses_with(views, masked, temperature=0.05)
    official = {name: float(z[f"step_{step}/{name}"]) for name in _OFFICIAL}  # KoLeo and iBOT are shown halved there
    for name, (term, times) in _OFFICIAL.items():
        assert terms[term].item() == pytest.approx(times * official[name], abs=1e-5), name
    total = sum(terms.values())
    assert total.item() == pytest.approx(float(z[f"step_{step}_total"]), abs=1e-5)
    total.backward()
    gradients = {name: p.grad for name, p in method.student.named_parameters()}
    compared = set()
    for name, norm in zip(z[f"step_{step}_gradnorm_names"], z[f"step_{step}_gradnorm"], strict=True):
        gradient = gradients[_ours(str(name))]
        if str(name) == "backbone.pos_embed":
            gradient = torch.cat([gradients["vit.network.cls_token"], gradient], dim=1)
        assert gradient.norm().item() == pytest.approx(float(norm), abs=2e-5), name
        compared.add(_ours(str(name)))
    assert compared == gradients.keys()
    if step == "sk_sep":
        positions = torch.cat([gradients["vit.network.cls_token"], gradients["vit.network.pos_embed"]], dim=1)
        np.testing.assert_allclose(positions, z["step_sk_sep_grad_pos_embed"], atol=1e-5)
        np.testing.assert_allclose(
            gradients["vit.network.blocks.0.attn.qkv.weight"], z["step_sk_sep_grad_qkv0"], atol=1e-5
        )


@pytest.mark.parametrize("official_positions", [False, True])
def test_it_trains_without_local_crops(official_positions):
    method, (views, masked) = make("sk_sep"), crops()
    method.student.vit.official_positions = official_positions
    local_crops = 2 * len(views.local) // len(views.global_)
    expected = method.losses_with(views, masked, temperature=0.05)
    terms = method.losses_with(replace(views, local=views.local[:0]), masked, temperature=0.05)
    sum(terms.values()).backward()
    assert terms["dino_local"].item() == 0
    assert terms["dino_global"].item() == pytest.approx((1 + local_crops) * expected["dino_global"].item())
    assert [terms[name].item() for name in ("ibot", "koleo")] == pytest.approx(
        [expected[name].item() for name in ("ibot", "koleo")]
    )
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.student.parameters())


_OFFICIAL = {
    "dino_local_crops_loss": ("dino_local", 1),
    "dino_global_crops_loss": ("dino_global", 1),
    "koleo_loss": ("koleo", 2),
    "ibot_loss": ("ibot", 2),
}


def anchored(**arguments):
    setup = Setup(ARCHITECTURE, Views(global_size=ARCHITECTURE.size), Recipe(steps=100), batch_size=4)
    return DinoV2(setup, prototypes=8, hidden=8, bottleneck=4, **{"gram": 2.0, **arguments})


def test_gram_anchoring_compares_patch_tokens_with_the_gram_teachers():
    method, (views, masked) = anchored(), crops()
    assert "gram" not in method.losses_with(views, masked, temperature=0.05)
    term = method.losses_with(views, masked, temperature=0.05, anchored=True)["gram"]
    with torch.no_grad():
        seen = [
            torch.nn.functional.normalize(tokens.double(), dim=2)
            for tokens in (
                method.student.vit(views.global_, masked).patches,
                method.gram_teacher.vit(views.global_).patches,
            )
        ]
    difference = seen[0] @ seen[0].mT - seen[1] @ seen[1].mT
    assert term.item() == pytest.approx(2 * difference.square().mean().item(), rel=1e-4)
    term.backward()
    assert method.student.vit.network.patch_embed.proj.weight.grad.any()
    assert not any(p.requires_grad for p in method.gram_teacher.parameters())


def test_without_gram_anchoring_there_is_no_gram_teacher():
    assert not any(name.startswith("gram") for name in make("sk_sep").state_dict())
    assert not anchored().train().gram_teacher.training
    for wrong, said in (
        ({"gram_every": 0}, "gram_every of at least 1, but got 0"),
        ({"gram_start": 1.0}, "below 1"),
        (
            {"gram_size": 24},
            "gram_size of at least the student's 32 px, and a multiple of the patch of 8 px, but got 24",
        ),
        ({"gram_size": 64, "gram": 0.0}, "gram above 0 where gram_size is given, but got 0"),
        ({"gram_size": 60}, "multiple of the patch of 8 px, but got 60"),
    ):
        with pytest.raises(UsageError, match=said):
            anchored(**wrong)


def test_a_gram_teacher_of_larger_crops_is_compared_on_the_students_grid():
    large = torch.nn.functional.interpolate(crops()[0].global_, (64, 64), mode="bicubic")
    method, (views, masked) = anchored(gram_size=64), crops()
    term = method.losses_with(replace(views, large=large), masked, temperature=0.05, anchored=True)["gram"]
    with torch.no_grad():
        student = method.student.vit(views.global_, masked).patches
        maps = method.gram_teacher.vit(large).patches.mT.unflatten(2, (8, 8))
        maps = torch.nn.functional.interpolate(maps.double(), (4, 4), mode="bicubic", antialias=True)
        seen = [torch.nn.functional.normalize(x.double(), dim=2) for x in (student, maps.flatten(2).mT)]
    difference = seen[0] @ seen[0].mT - seen[1] @ seen[1].mT
    assert term.item() == pytest.approx(2 * difference.square().mean().item(), rel=1e-4)


def test_a_gram_size_of_the_students_is_none():
    views, masked = crops()
    plain, same = (
        anchored(gram_size=size).losses_with(views, masked, temperature=0.05, anchored=True) for size in (None, 32)
    )
    assert all(torch.equal(same[name], term) for name, term in plain.items())
    assert anchored(gram_size=32).gram_teacher.size is None


def test_the_larger_crops_are_made_from_the_step_at_which_anchoring_begins(monkeypatch):
    for size in (None, 64):
        method, sides = anchored(gram_start=0.5, gram_size=size), []
        for step in (0, 49, 50, 51, 99):
            monkeypatch.setattr(DinoV2, "global_step", step)
            sides.append((method.large_size, method.teachers))
        before, begins, after = (
            (None, (32,)),
            (size, (32,)),
            (size, (32, size or 32)),
        )  # teachers are of the step before
        assert sides == [before, before, begins, after, after]


def test_an_anchored_run_resumes_with_the_gram_teacher_that_it_had(patches, tmp_path):
    more = ["--steps", "4", "--method.gram", "2", "--method.gram_start", "0.25", "--method.gram_every", "2"]
    more += ["--method.gram_size", "64"]
    run(patches, tmp_path, *more, "--training.checkpoint_every", "2")  # anchored from step 1, stopped after it
    last = tmp_path / "checkpoints/step-4.ckpt"
    whole = torch.load(last, weights_only=True)["state_dict"]
    last.unlink()
    shutil.rmtree(tmp_path / "export")
    run(patches, tmp_path, *more, "--training.checkpoint_every", "2")
    again = torch.load(last, weights_only=True)["state_dict"]
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert any(name.startswith("gram_teacher.") for name in whole)
