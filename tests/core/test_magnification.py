import json
from pathlib import Path

import pytest
from PIL import Image

from eva_core.cli import main


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
