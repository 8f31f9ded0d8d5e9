"""Every shipped recipe parses and builds, and the page about pretraining names settings that there are."""

import inspect
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from eva_core.errors import UsageError
from eva_pretrain.methods.dino import Dino
from eva_pretrain.methods.dinov2 import DinoV2
from eva_pretrain.methods.distill import Distill
from eva_pretrain.run.config import PARTS, Export, Plan, parse
from eva_pretrain.run.config import plan as plan_from_python

HOME = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (HOME / "configs/pretrain").glob("*.yaml"))
TABLES: dict[str, Any] = {
    "method dino": Dino,
    "method dinov2": DinoV2,
    "method distill": Distill,
    **PARTS,
    "export": Export,
}


@pytest.fixture(scope="module", params=NAMES)
def plan(request: pytest.FixtureRequest) -> Plan:
    return parse(["--config", request.param, "--folder", "patches"])


def test_a_recipe_is_named_as_its_file(plan):
    assert plan.name in NAMES


def test_a_recipe_builds(plan):
    if plan.method is Distill:
        plan = replace(plan, method_arguments={**plan.method_arguments, "backbone": "random_vits16"})
    with torch.device("meta"):  # no memory, no time: ViT-g too
        method = plan.method(plan.setup, **plan.method_arguments)
    patch = max(method.student.vit.network.patch_embed.patch_size)
    views = plan.setup.views
    assert all(size % patch == 0 for size in (plan.setup.architecture.size, views.global_size, views.local_size))
    assert views.global_size == plan.setup.architecture.size  # it is evaluated at the size that it has learnt
    assert plan.sampling.size >= views.global_size * views.global_scale[0] ** 0.5


def test_a_start_is_known_to_timm_and_of_the_same_network(plan):
    architecture = plan.setup.architecture
    if architecture.start is not None and architecture.start.endswith(".ckpt"):  # of another recipe, where it puts it
        assert architecture.start.split("/")[:2] == ["out", "pretrain"]
        assert architecture.start.split("/")[2] in NAMES
    elif architecture.start is not None:
        assert timm.is_model_pretrained(architecture.start)
        assert architecture.start.partition(".")[0] == architecture.arch


def test_new_heads_on_pretrained_weights_have_some_steps_to_themselves(plan):
    alone = round(plan.setup.recipe.heads_alone * plan.setup.recipe.steps)
    assert alone >= 10 or plan.setup.architecture.start is None  # random weights have nothing to lose


@pytest.mark.parametrize(
    ("flag", "value"),
    [("vit.drop_path", "1.0"), ("recipe.betas", "[0.9, 1.0]"), ("recipe.layer_decay", "0"), ("monitor.holdout", "1.0")],
)
def test_a_setting_that_makes_no_sense_is_one_line(flag, value):
    with pytest.raises(UsageError, match=rf"^Expected .*{flag.partition('.')[2]}.*, but got .+\. ") as error:
        parse(["--config", "demo", "--folder", "patches", f"--{flag}", value])
    assert "\n" not in str(error.value)


def test_the_page_of_sources_names_settings_alone():
    page = (HOME / "docs/reference/pretraining.md").read_text(encoding="utf-8")
    _, _, sources = page.partition("## Where the defaults come from\n")
    parts = re.split(r"^### (.+)$", sources, flags=re.MULTILINE)[1:]
    named = {
        heading: re.findall(r"^\| `(\w+)` \| .+ \|$", body, re.MULTILINE)
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }
    assert named.keys() <= TABLES.keys()
    assert [f"{part}.{name}" for part, names in named.items() for name in names if name not in settings(part)] == []
    assert sum(map(len, named.values())) > 60


def settings(part: str) -> set[str]:
    kind = TABLES[part]
    found = {f.name for f in fields(kind)} if is_dataclass(kind) else set(inspect.signature(kind).parameters)
    return found - {"setup"}


def test_a_plan_from_python_is_that_of_the_same_flags(tmp_path):
    argv = ["--config", "demo", "--folder", "patches", "--steps", "3", "--recipe.lr", "0.001", "--vit.size", "32"]
    flags = parse([*argv, "--views.global_size", "32", "--method.prototypes", "8", "--output", str(tmp_path)])
    settings = {"vit": {"size": 32}, "views": {"global_size": 32}, "method": {"init_args": {"prototypes": 8}}}
    ours = plan_from_python("demo", folder=Path("patches"), steps=3, recipe={"lr": 0.001}, output=tmp_path, **settings)
    assert ours == flags
    assert ours.setup.recipe.lr == 0.001


@pytest.mark.parametrize("settings", [{"stepz": 3}, {"recipe": {"lrr": 3}}, {"steps": "many"}, {"method": "dinov9"}])
def test_a_wrong_setting_from_python_is_one_line(settings):
    with pytest.raises(UsageError) as error:
        plan_from_python("demo", folder="patches", **settings)
    assert "\n" not in str(error.value)
