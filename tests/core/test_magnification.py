import json
from pathlib import Path

import pytest
from PIL import Image

from eva_core import registry
from eva_core.cli import main
from eva_core.commands.profile import steps
from eva_core.config.protocols import load_protocol
from eva_core.contracts.cards import ModelCard
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.magnification import geometry_at
from eva_core.task import task_named


@pytest.mark.parametrize(
    ("text", "expected"), [("0.25..4", [0.25, 0.5, 1, 2, 4]), ("0.5..0.5", [0.5]), ("0.5,1,3", [0.5, 1, 3])]
)
def test_steps(text, expected):
    assert steps(text) == expected


@pytest.mark.parametrize("text", ["4..0.25", "0..1", "1,0.5", "x", ""])
def test_steps_that_make_no_sense(text):
    with pytest.raises(UsageError, match=r"LOW\.\.HIGH"):
        steps(text)


def test_geometry_makes_the_mpp_and_keeps_to_whole_tokens():
    card = ModelCard("m", dim=384, patch_size=16)
    at = {mpp: geometry_at(mpp, 0.5, 224, Protocol("p"), card) for mpp in (0.25, 0.5, 1, 2, 16)}
    assert at[0.25] is None  # finer than the images
    assert (at[0.5].resize, at[0.5].crop) == (224, 224)
    assert (at[1].resize, at[1].crop) == (112, 112)
    assert (at[2].resize, at[2].crop) == (56, 48)
    assert at[16] is None  # smaller than a token
    assert geometry_at(1, 0.5, 224, Protocol("p"), ModelCard("m", 384, patch_size=16, sizes=(224,))) is None


def test_masks_are_brought_to_another_mpp_and_keep_the_input():
    nuclei, card = registry.datasets.build("phantom_nuclei", train=1, val=1, test=1, size=64), ModelCard("m", 384)
    rules = task_named("segmentation").at_mpp(0.5, 0.25, nuclei, load_protocol("strict"), card)
    assert rules is not None
    assert rules.segmentation.mpp == 0.5
    assert rules.geometry_for(card) == card.geometry
    assert task_named("segmentation").at_mpp(0.1, 0.25, nuclei, load_protocol("strict"), card) is None
    with pytest.raises(UsageError, match="stitches"):
        task_named("segmentation").at_mpp(0.5, 0.25, nuclei, load_protocol("eva-0.4"), card)


def test_the_command_draws_a_curve_for_each_model(tmp_path: Path, capsys: pytest.CaptureFixture):
    task = tmp_path / "task.yaml"
    task.write_text("dataset: {class_path: phantom, init_args: {train: 8, val: 4, test: 8, size: 64}}\n")
    protocol = tmp_path / "quick.yaml"
    protocol.write_text("name: quick\nsteps: 20\nruns: 2\n")
    flags = [
        "--model",
        "colour_stats",
        "--mpp",
        "0.25..1",
        "--protocol",
        str(protocol),
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(["profile", "--config", str(task), *flags]) == 0
    shown = capsys.readouterr()
    assert "0.25 mpp is left out" in shown.err
    content = json.loads((tmp_path / "o" / "profile.json").read_text())
    assert [p["mpp"] for p in content["curves"]["colour_stats"]["points"]] == [0.5, 1]
    assert "synthetic" in content["dataset"]
    for mpp, side in (("0.5", 64), ("1", 32)):
        assert f"crop: {side}" in (tmp_path / "o" / "colour_stats" / mpp / "config.yaml").read_text()
    assert Image.open(shown.out.strip()).size[0] > 500
