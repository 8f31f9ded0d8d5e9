from pathlib import Path

import pytest
import yaml

from eva_core.cli import main
from eva_core.commands.leaderboard import NOTES
from tests.core.conftest import BROKEN


def test_nothing_to_check_is_not_reproduced(spec: Path, finished: Path):
    assert main(["leaderboard", "--config", str(spec), "--output", str(finished), "--no-run", "--published"]) == 1


def test_what_could_never_run_is_refused_before_anything_runs(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    content = yaml.safe_load(spec.read_text())
    spec.write_text(yaml.safe_dump({**content, "heads": ["linear", "knnn"]}))
    assert main(["leaderboard", "--config", str(spec), "--output", str(tmp_path / "o")]) == 2
    assert "Did you mean knn" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "o").rglob("*.json")} <= {NOTES}


def test_a_board_without_a_single_score_fails(spec: Path, tmp_path: Path):
    content = yaml.safe_load(spec.read_text())
    spec.write_text(yaml.safe_dump({**content, "models": [BROKEN]}))
    assert main(["leaderboard", "--config", str(spec), "--output", str(tmp_path / "o"), "--device", "cpu"]) == 1
