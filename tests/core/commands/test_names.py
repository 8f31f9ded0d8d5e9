"""The listing commands: a useful line for each name and its card, without torch, whatever a plugin does."""

import json
import subprocess
import sys

import pytest

from eva_core import registry
from eva_core.cli import main
from eva_core.config.files import shipped
from tests.hub import Hub

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
    assert line.split()[1:5] == ["1536", "14", "CC-BY-NC-ND-4.0", "yes"]
    assert "over 200 million H&E and IHC patches" in line
    assert "hub: MahmoodLab/UNI2-h" in line


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
        ["models", "--json"],
        ["datasets", "--sort", "classes"],
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
    assert line.split()[1:5] == ["7", "2", "MIT", "no"]
    assert line.endswith("A third party. [others 1.2.3]")
    assert main(["models", "third"]) == 0
    assert "width: int = 3\n        How wide." in capsys.readouterr().out


def order(capsys: pytest.CaptureFixture, *argv: str) -> list[str]:
    return list(rows(capsys, *argv))


def test_a_list_is_sorted_by_any_column(capsys: pytest.CaptureFixture):
    by_size = order(capsys, "models", "--sort", "d")
    assert (by_size[0], by_size[-3]) == ("colour_stats", "genbio_pathfm")  # two depend on arguments
    by_licence = order(capsys, "models", "--sort", "LICENCE")
    assert by_licence.index("h_optimus_0") < by_licence.index("uni") < by_licence.index("midnight_12k")
    by_task = order(capsys, "datasets", "--sort", "task")
    assert by_task.index("bach") < by_task.index("phantom_nuclei") < by_task.index("slide_folder")
    assert order(capsys, "protocols", "--sort", "what_it_is")
    assert main(["models", "--sort", "colour"]) == 2
    assert "Expected --sort to be one of name, d, patch, licence" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [*KINDS, "protocols"])
def test_a_list_as_json_has_every_name(kind: str, capsys: pytest.CaptureFixture):
    assert main([kind, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in content] == order(capsys, kind)
    assert all(item["summary"] for item in content)


def test_one_name_as_json(capsys: pytest.CaptureFixture):
    assert main(["models", "kaiko_vits8", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["card"]["dim"] == 384
    assert content["weights"].endswith("/towards_large_pathology_fms/releases/download/0.0.1/vits8.pth")
    assert main(["datasets", "bach", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"]["task"] == "classification"
    assert main(["heads", "knn", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["arguments"][0].startswith("k: tuple[int, ...]")
    assert main(["protocols", "strict", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["selection"] == "holdout"


def test_a_plugin_without_a_readable_card_is_json_too(plugin, capsys: pytest.CaptureFixture):
    plugin("seven", "[eva.models]\nseven = seven:seven\n", "def seven():\n    'Odd.'\nseven.card = 7")
    plugin("lost", "[eva.models]\nlost = lost:lost\n", "import nowhere_to_be_found")
    assert main(["models", "--json"]) == 0
    content = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert "does not read" in content["seven"]["problem"]
    assert "does not import" in content["lost"]["problem"]


def test_check_says_which_weights_are_here(hub: Hub, capsys: pytest.CaptureFixture):
    hub.files["owkin/phikon/model.safetensors"] = b"x" * 1234
    assert main(["models", "phikon", "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:6] == ["phikon", "can", "be", "fetched", "1.2", "kB"]
    assert main(["models", "--check", "--json", "uni2_h"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "needs a token"
    assert main(["models", "--check", "nothing_like_it"]) == 2


def test_check_lists_every_model(hub: Hub, offline, capsys: pytest.CaptureFixture):
    offline()
    listed = rows(capsys, "models", "--check")
    assert listed.keys() == {entry.name for entry in registry.models.entries()}
    assert "cannot be had" in listed["phikon"]
    assert "HF_HUB_OFFLINE is set" in listed["kaiko_vits16"]
    assert "none needed" in listed["colour_stats"]
