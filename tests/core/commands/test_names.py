"""The listing commands: a useful line for each name and its card, without torch, whatever a plugin does."""

import subprocess
import sys

import pytest

from eva_core import registry
from eva_core.cli import main
from eva_core.config.files import shipped

KINDS = ("models", "datasets", "heads", "methods", "tasks")


def rows(capsys: pytest.CaptureFixture, *argv: str) -> dict[str, str]:
    """The lines of a listing by name, the header left out."""
    assert main(list(argv)) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("NAME ")
    return {line.split()[0]: line for line in lines}


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_has_a_line_of_its_own(kind: str, capsys: pytest.CaptureFixture):
    listed = rows(capsys, kind)
    assert listed.keys() == {entry.name for entry in getattr(registry, kind).entries()}
    said = {line.split("  ")[-1].strip() for line in listed.values()}
    assert len(said) == len(listed)
    assert not any("Evaluate pathology foundation models" in line for line in listed.values())


def test_a_model_is_listed_with_what_one_chooses_it_by(capsys: pytest.CaptureFixture):
    line = rows(capsys, "models")["uni2_h"]
    assert line.split("  ")[-1] == "UNI2-h, ViT-H/14 with 8 registers of the Mahmood Lab."
    assert line.split()[1:6] == ["1536", "14", "224", "CC-BY-NC-ND-4.0", "yes"]


def test_a_dataset_is_listed_with_task_classes_licence_and_access(capsys: pytest.CaptureFixture):
    listed = rows(capsys, "datasets")
    assert listed["bach"].split()[1:6] == ["classification", "4", "CC", "BY-NC-ND", "4.0"]
    assert "--dataset.download true" in listed["bach"]
    assert listed["consep"].split()[1] == "segmentation"


def test_a_protocol_is_listed_with_its_main_fields(capsys: pytest.CaptureFixture):
    listed = rows(capsys, "protocols")
    assert listed.keys() == {path.stem for path in (shipped("configs") / "protocols").glob("*.yaml")}
    assert listed["strict"].split()[1:5] == ["card", "card", "holdout", "5"]
    assert listed["strict"].endswith(
        "Ours: everything from the model's card, selection on a hold-out of train, the reported split touched once."
    )


def test_a_protocol_is_shown_with_its_fields(capsys: pytest.CaptureFixture):
    assert main(["protocols", "strict"]) == 0
    out = capsys.readouterr().out
    assert "selection: holdout" in out
    assert "--protocol.FIELD" in out
    assert main(["protocols", "strikt"]) == 2
    assert "Did you mean strict?" in capsys.readouterr().err


def test_a_card_is_shown_with_question_marks_for_the_unknown(capsys: pytest.CaptureFixture):
    assert main(["models", "imagenet_dino_vits16"]) == 0
    out = capsys.readouterr().out
    assert "dim            384" in out
    assert "revision       ?" in out


def test_arguments_are_shown_with_their_types_and_what_they_do(capsys: pytest.CaptureFixture):
    assert main(["heads", "knn"]) == 0
    out = capsys.readouterr().out
    assert "k: tuple[int, ...] = (1, 3, 5, 10, 20, 50, 100)\n        Numbers of neighbours to try." in out
    assert main(["datasets", "bach"]) == 0
    assert "download: bool = False\n        Fetch and unpack it (10 GB) where it is missing." in capsys.readouterr().out
    assert main(["models", "timm_model"]) == 0
    assert "**arch_args: Any" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        *([kind] for kind in (*KINDS, "protocols")),
        ["heads", "linear"],
        ["datasets", "tp53"],
        ["models", "uni"],
        ["methods", "dinov2"],
        ["tasks", "segmentation"],
    ],
)
def test_our_own_names_are_told_without_torch(argv: list[str]):
    heavy = {"torch", "timm", "lightning", "numpy"}
    code = f"import sys; from eva_core.cli import main; main({argv}); sys.exit(str({heavy} & sys.modules.keys() or 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "0"
    assert done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_that_does_not_import_has_a_line_that_says_so(kind: str, plugin, capsys: pytest.CaptureFixture):
    plugin(f"bad_{kind}", f"[eva.{kind}]\nbad = bad_{kind}:bad\n", "import nowhere_to_be_found")
    listed = rows(capsys, kind)
    assert f"'bad' of bad_{kind} 1.2.3 does not import (ModuleNotFoundError" in listed["bad"]
    assert len(listed) > 1
    assert main([kind, "bad"]) == 2
    assert "does not import" in capsys.readouterr().err


@pytest.mark.parametrize(
    "code",
    [
        "def odd():\n    'Odd.'\nodd.card = 7",
        "odd = 7",
        "class Card:\n    def __getattr__(self, name): raise KeyError(name)\ndef odd(): pass\nodd.card = Card()",
        "import sys; sys.exit(0)",
        "class odd:\n    'Two\x1b[2J lines'\n    card = None\n    __signature__ = 3",
    ],
)
def test_whatever_a_plugin_is_listing_goes_on(code: str, plugin, capsys: pytest.CaptureFixture):
    name = f"odd{abs(hash(code))}"
    plugin(name, f"[eva.models]\nodd = {name}:odd\n", code)
    listed = rows(capsys, "models")
    assert f"[{name} 1.2.3]" in listed["odd"]
    assert "\x1b" not in listed["odd"]
    assert "uni" in listed


def test_a_plugin_is_listed_with_its_card_and_its_package(plugin, capsys: pytest.CaptureFixture):
    code = (
        "from eva_core.contracts.cards import ModelCard, card\n"
        "@card(ModelCard('third', dim=7, patch_size=2, licence='MIT'))\n"
        "def third(width: int = 3):\n    'A third party.\\n\\n    Args:\\n        width: How wide.\\n    '\n"
    )
    plugin("others", "[eva.models]\nthird = others:third\n", code)
    line = rows(capsys, "models")["third"]
    assert line.split()[1:6] == ["7", "2", "224", "MIT", "no"]
    assert line.endswith("A third party. [others 1.2.3]")
    assert main(["models", "third"]) == 0
    assert "width: int = 3\n        How wide." in capsys.readouterr().out
