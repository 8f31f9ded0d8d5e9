from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from eva_core.config.files import find_config, first_reason, read_yaml
from eva_core.errors import UsageError


@dataclass
class Settings:
    stain: Literal["hed", "macenko"] = "hed"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_tilde_in_a_file_is_the_home_folder(home: Path, tmp_path: Path):
    (tmp_path / "a.yaml").write_text("output: ~/out\ndataset: {init_args: {root: ~/data}}\nlist: [~/x, a]\nnone: ~\n")
    assert read_yaml(tmp_path / "a.yaml") == {
        "output": f"{home}/out",
        "dataset": {"init_args": {"root": f"{home}/data"}},
        "list": [f"{home}/x", "a"],
        "none": None,
    }


@pytest.mark.parametrize(
    ("text", "number"), [("3e-4", 3e-4), ("1E3", 1000.0), ("-2e+1", -20.0), ("3.0e-4", 3e-4), ("12", 12), ("e4", "e4")]
)
def test_powers_of_ten_are_numbers(tmp_path: Path, text: str, number):
    (tmp_path / "a.yaml").write_text(f"a: {text}\nb: [{text}]\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": number, "b": [number]}


@pytest.mark.parametrize(("text", "said"), [("a: [1", "does not parse"), ("- 1\n", "a mapping in .*, but got a list")])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, said: str):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


def test_a_config_is_found_by_its_path_then_by_its_name(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("")
    assert find_config(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    assert find_config("strict", "protocols").name == "strict.yaml"
    with pytest.raises(UsageError, match=r"No protocol 'strikt'.*Did you mean strict\?"):
        find_config("strikt", "protocols")


def test_a_folder_is_told_which_file_of_it_is_meant(tmp_path: Path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UsageError, match=f"Did you mean {tmp_path}/config.yaml"):
        find_config(str(tmp_path))
    with pytest.raises(UsageError, match=r"under configs/\. Check the path\.$"):
        find_config(str(tmp_path / "nowhere.yaml"))


def test_the_reason_of_an_error_is_not_the_value_that_was_given():
    said = (
        "Does not validate against any of the Union subtypes\nErrors:\n"
        "  - Expected Photos in data/bach, but it is not there.\n  - Expected a <class 'NoneType'>\n"
        "Given value type: <class 'Namespace'>\nGiven value: Namespace(root='data/bach')"
    )
    assert first_reason(ValueError(said)) == "Expected Photos in data/bach, but it is not there."


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (
            Settings | Literal["csv", "wandb"],
            "wandbb",
            "Expected one of csv, wandb, but got wandbb. Did you mean wandb?",
        ),
        (Literal["csv", "wandb"], "x", "Expected one of csv, wandb, but got x."),
        (Settings, {"stain": "macenka"}, "Expected one of hed, macenko, but got macenka. Did you mean macenko?"),
        (Settings | None, {"stain": "macenka"}, "Expected one of hed, macenko, but got macenka. Did you mean macenko?"),
        (float, "much", "Expected float, but got much."),
        (int | None, "much", "Expected int, but got much."),
    ],
)
def test_the_reason_says_what_came_and_what_is_near(kind, given, said):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--what", type=kind)
    with pytest.raises(ArgumentError) as error:
        parser.parse_object({"what": given})
    assert first_reason(error.value).split(": ", 1)[1] == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            'Parser key "recipe":\n  Parser key "recipe.lr":\n    Expected a <class \'float\'>\n'
            "  Given value type: str\n  Given value: abc",
            "--recipe.lr: Expected float, but got abc.",
        ),
        ('Parser key "recipe":\n  Parser key "recipe": Unable to load "5"', '--recipe: Unable to load "5".'),
        (
            "Errors:\n  - Expected a typing.Literal['csv', 'wandb']\n  - Problem with given class_path 'a.Logger':\n"
            "      the following arguments are required: folder\nGiven value type: x\n"
            "Given value: Namespace(class_path='a.Logger', init_args=Namespace(folder=None))",
            "the following arguments are required: folder.",
        ),
        ("Expected a typing.Literal['csv', 'wandb']\nGiven value: ", "Expected one of csv, wandb, but got ''."),
    ],
)
def test_the_reason_is_the_innermost_of_the_thing_that_was_meant(error, said):
    assert first_reason(ValueError(error)) == said
