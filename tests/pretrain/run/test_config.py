"""Every shipped recipe parses and builds, and the page about pretraining has every setting with its default."""

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from eva_core.errors import UsageError
from eva_pretrain.methods.dino import Dino
from eva_pretrain.methods.dinov2 import DinoV2
from eva_pretrain.run.config import PARTS, Export, Plan, parse
from eva_pretrain.run.config import plan as plan_from_python

HOME = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (HOME / "configs/pretrain").glob("*.yaml"))
TABLES = {"method: Dino": Dino, "method: DinoV2": DinoV2, **PARTS, "export": Export}


@pytest.fixture(scope="module", params=NAMES)
def plan(request: pytest.FixtureRequest) -> Plan:
    return parse(["--config", request.param, "--folder", "patches"])


def test_a_recipe_is_named_as_its_file(plan):
    assert plan.name in NAMES


def test_a_recipe_builds(plan):
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


def test_new_heads_have_some_steps_to_themselves(plan):
    assert round(plan.setup.recipe.heads_alone * plan.setup.recipe.steps) >= 10


@pytest.mark.parametrize(
    ("flag", "value"),
    [("vit.drop_path", "1.0"), ("recipe.betas", "[0.9, 1.0]"), ("recipe.layer_decay", "0"), ("monitor.holdout", "1.0")],
)
def test_a_setting_that_makes_no_sense_is_one_line(flag, value):
    with pytest.raises(UsageError, match=rf"^Expected .*{flag.partition('.')[2]}.*, but got .+\. ") as error:
        parse(["--config", "demo", "--folder", "patches", f"--{flag}", value])
    assert "\n" not in str(error.value)


def documented() -> dict[str, dict[str, str]]:
    """Tables of docs/pretrain.md: heading -> setting -> default as it is written."""
    text = (HOME / "docs/pretrain.md").read_text()
    parts = re.split(r"^#+ +(.+)$", text, flags=re.MULTILINE)[1:]
    rows = re.compile(r"^\| `(\w+)` \| `(.+?)` \|", re.MULTILINE)
    return {heading.strip("`"): dict(rows.findall(body)) for heading, body in zip(parts[::2], parts[1::2], strict=True)}


def defaults(part: Callable[..., Any]) -> dict[str, Any]:
    if isinstance(part, type) and hasattr(part, "__dataclass_fields__"):
        found = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(part)}
    else:
        found = {n: p.default for n, p in inspect.signature(part).parameters.items() if n != "setup"}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_has_every_setting_with_its_default(heading):
    written = {name: yaml.safe_load(text) for name, text in documented()[heading].items()}
    assert {k: written.get(k) for k in written} == {k: like(v) for k, v in defaults(TABLES[heading]).items()}


def like(value: Any) -> Any:
    """Equal to what a person writes for it: 1.3333 for 4 / 3."""
    if isinstance(value, list) and value and isinstance(value[0], float):
        return pytest.approx(value, rel=1e-4)
    return value


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
