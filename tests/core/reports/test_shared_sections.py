"""What every report says, whatever the kind of task."""

import shlex
from pathlib import Path
from typing import Any

from eva_core.reports.shared_sections import about, scores
from eva_core.results.record import read_results
from tests.core.reports.conftest import made_up_result


def facts(folder: Path, **changes: Any) -> dict[str, str]:
    parts = about(read_results(made_up_result(folder, 60, **changes)), folder)
    return {name: text for part in parts if part["kind"] == "facts" for name, text in part["rows"]}


def test_the_score_stands_beside_nulls_and_chance(tmp_path: Path):
    found = scores(read_results(made_up_result(tmp_path / "out", 60)))
    assert [(row["name"], row["of"]) for row in found["rows"]] == [
        ("m on test", "model"),
        ("colour_stats on test", "null"),
    ]
    assert found["chance"] == 1 / 3
    assert "higher is better" in found["note"]


def test_what_may_mislead_is_said(tmp_path: Path):
    said = facts(tmp_path / "out")
    assert said["did the model see these slides?"] == (
        "yes: it was trained on 3 of these images or their slides; on the 5 others 0.700 (0.600 to 0.800)"
    )
    assert said["robustness index"].startswith("0.400 at k = 5")
    assert said["does the embedding tell the site?"] == "balanced accuracy 0.900, chance 0.500"
    assert said["images that are in train as well, bit for bit"] == "2 in test"
    assert said["micrometres per pixel"] == "0.5 reached the model, 0.25 in the files"
    assert said["run 1"] == "balanced accuracy 0.700 there; step 10, lr 0.0003"


def test_what_is_not_known_is_said_as_well(tmp_path: Path):
    changes = {"contamination": {"kind": "unknown"}, "confounds": None, "copies": {}}
    said = facts(tmp_path / "out", **changes)
    assert said["did the model see these slides?"].startswith("unknown")
    assert said["does the embedding tell the site?"].startswith("not known")
    assert said["images that are in train as well, bit for bit"] == "none found"


def test_the_command_that_repeats_it_is_one_of_a_shell(tmp_path: Path):
    folder = made_up_result(tmp_path / "a b; rm", 60)
    code = about(read_results(folder), folder)[-1]
    assert code["kind"] == "code"
    words = shlex.split(code["text"])
    assert words == ["eva", "fit", "--config", str(folder / "config.yaml"), "--output", f"{folder}-again"]
