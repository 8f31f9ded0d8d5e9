"""The key of a run holds names and settings: no place of code, no default, no way of reading or watching."""

from dataclasses import dataclass, replace

import pytest
import yaml

from eva_core import registry
from eva_pretrain.data.datamodule import Source
from eva_pretrain.methods.dino import Dino
from eva_pretrain.network.vit import Architecture
from eva_pretrain.run.config import PARTS as KINDS
from eva_pretrain.run.config import parse
from eva_pretrain.run.key import differences, key_of, name_of, read_stored, settings_in, settings_of, shown, stored
from eva_vision.slides.sampling import Sampling

PARTS = {"data": Source(folder="patches"), "vit": Architecture(drop_path=0.1), "sampling": Sampling()}


@dataclass(frozen=True)
class NewerSource(Source):
    """As it is once a setting was added."""

    colour_management: bool = False


class Theirs(Dino):
    """A method that nobody registered."""


class Newer(Dino):
    """The same with another output."""

    __qualname__ = Theirs.__qualname__
    version = 2


def key(method: type = Dino, **changes: object) -> str:
    arguments = changes.pop("arguments", {})
    seed = changes.pop("seed", 0)
    return key_of(settings_of(method, arguments, {**PARTS, **changes}, seed, 32))  # type: ignore[arg-type]


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods and their entry points, as if their code lay in another module."""
    entries = [
        replace(e, target=e.target.replace("eva_pretrain.methods.", "eva_pretrain.elsewhere."))
        for e in registry.methods.entries()
    ]
    monkeypatch.setattr(registry.methods, "entries", lambda: entries)
    monkeypatch.setattr(Dino, "__module__", "eva_pretrain.elsewhere.dino")
    monkeypatch.setattr(Theirs, "__module__", "tests.elsewhere")


def test_a_class_that_moves_keeps_its_key(request: pytest.FixtureRequest):
    before = [key(method) for method in (Dino, Theirs)]
    assert name_of(Dino) == "dino"
    request.getfixturevalue("moved")
    assert [key(method) for method in (Dino, Theirs)] == before
    assert name_of(Dino) == "dino"


def test_an_alias_of_another_package_changes_no_key(monkeypatch: pytest.MonkeyPatch):
    before = key()
    entries = registry.methods.entries()
    alias = replace(next(e for e in entries if e.name == "dino"), name="a_dino", package="a-package")
    monkeypatch.setattr(registry.methods, "entries", lambda: [alias, *entries])
    assert key() == before


def test_a_new_setting_with_a_default_changes_no_key():
    assert key(data=NewerSource(folder="patches")) == key()
    assert key(data=NewerSource(folder="patches", colour_management=True)) != key()
    assert key(arguments={"prototypes": 65_536}) == key()
    assert key(arguments={"prototypes": 1024}) != key()


def test_a_version_and_what_decides_weights_change_the_key():
    assert len({key(), key(Theirs), key(Newer), key(seed=1), key(vit=Architecture())}) == 5


def test_how_patches_are_read_changes_no_key():
    assert key(data=Source(folder="patches", workers=7, prefetch=9)) == key()


def test_the_content_of_a_list_of_slides_decides(tmp_path):
    file = tmp_path / "exclude.txt"
    file.write_text("a.svs\n")
    before = key(sampling=Sampling(exclude=str(file)))
    file.write_text("a.svs\nb.svs\n")
    assert key(sampling=Sampling(exclude=str(file))) != before
    file.rename(tmp_path / "other.txt")
    (tmp_path / "other.txt").write_text("a.svs\n")
    assert key(sampling=Sampling(exclude=str(tmp_path / "other.txt"))) == before


def test_a_name_and_its_class_path_are_one_run():
    by_name = parse(["--config", "demo", "--folder", "patches", "--method", "dino"])
    by_path = parse(["--config", "demo", "--folder", "patches", "--method", "eva_pretrain.methods.dino.Dino"])
    assert by_name.key == by_path.key


BASE = ["--config", "demo", "--folder", "patches", "--batch_size", "8"]


@pytest.mark.parametrize(
    "more",
    [
        [*("--folder", "./nowhere/../patches/"), *("--name", "another"), *("--most_skipped", "20")],
        [*("--vit.compile", "true"), *("--vit.checkpointing", "true"), *("--training.log_every", "3")],
        [*("--batch_size", "1"), *("--training.devices", "2"), *("--training.nodes", "2"), "--training.accumulate=2"],
    ],
)
def test_what_changes_no_weight_changes_no_key(more):
    assert parse([*BASE, *more]).key == parse(BASE).key


@pytest.mark.parametrize("more", [["--batch_size", "16"], ["--folder", "others"]])
def test_what_changes_weights_changes_the_key(more):
    assert parse([*BASE, *more]).key != parse(BASE).key


def test_a_link_to_a_folder_or_to_weights_is_what_it_leads_to(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "weights.pth").touch()
    (tmp_path / "link").symlink_to("images")
    (tmp_path / "start.pth").symlink_to("weights.pth")

    def of(folder: str, start: str) -> str:
        return key(data=Source(folder=str(tmp_path / folder)), vit=Architecture(start=str(tmp_path / start)))

    assert of("images", "weights.pth") == of("link", "start.pth")
    assert of("images", "weights.pth") != of("images", "other.pth")


def test_differences_are_settings_that_change_weights():
    then = {
        "method": {"class_path": "eva_pretrain.dino.Dino", "init_args": {"prototypes": 8}},
        "vit": {"arguments": {"depth": 4}, "size": 32},
        "data": {"workers": 1},
        "monitor": {"every": 5},
    }
    now = {
        "method": {"class_path": "dino", "init_args": {"prototypes": 16, "hidden": 2048}},
        "vit": {"arguments": {"depth": 4, "embed_dim": 24}, "size": 32},
        "data": {"workers": 2},
        "seed": 1,
        "recipe": {"steps": 125_000},
    }
    old, new = (settings_in(config, Dino, KINDS) for config in (then, now))
    assert differences(old, old) == []
    names = differences(old, new)
    assert names == ["method.prototypes", "vit.arguments.embed_dim", "seed"]
    assert [(shown(n, old, then), shown(n, new, now)) for n in names] == [("8", "16"), ("none", "24"), ("none", "1")]
    assert shown("recipe.steps", new, now) == "125000"


def test_a_configuration_of_yaml_has_the_settings_of_its_plan(tmp_path):
    plan = parse([*BASE, "--vit.arguments={depth: 2}", "--seed", "3"])
    assert settings_in(yaml.safe_load(plan.text), Dino, KINDS, 8)["method"] == "dinov2"
    assert differences(settings_in(yaml.safe_load(plan.text), plan.method, KINDS, 8), plan.settings) == []
    (tmp_path / "key").write_text(stored(plan.key, plan.settings))
    key, settings = read_stored(tmp_path / "key")
    assert (key, differences(settings or {}, plan.settings)) == (plan.key, [])
    (tmp_path / "key").write_text("0123")
    assert read_stored(tmp_path / "key") == ("0123", None)


def test_the_schedule_enters_the_key_and_not_where_the_run_ends_in_it():
    def of(*more: str) -> str:
        return parse(["--config", "demo", "--folder", "patches", *more]).key

    whole = of("--steps=1000")
    assert of("--steps=600", "--recipe.schedule_steps=1000") == whole
    assert of("--steps=2000", "--recipe.schedule_steps=1000") == whole
    assert of("--steps=600") != whole
    assert of("--steps=600", "--recipe.schedule_steps=125000") == of("--steps=125000")
    assert of("--steps=1000", "--recipe.schedule=constant") != whole
    kept = ["--training.keep_last=5", "--training.keep_every=9", "--training.max_hours=1"]
    assert of("--steps=1000", *kept) == whole
