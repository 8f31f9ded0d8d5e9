from pathlib import Path

import pytest

from eva_core.boards import run as runs
from eva_core.boards.board import Pair, pairs, read_board
from eva_core.boards.run import run_pair
from eva_core.cli import main


def test_it_goes_on_where_it_was_stopped(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out, argv = tmp_path / "out", ["leaderboard", "--config", str(spec), "--device", "cpu", "--workers", "0"]
    real, calls = runs.run_pair, []

    def stopped(pair: Pair, how: dict) -> str | None:
        if calls:
            raise KeyboardInterrupt
        calls.append(pair.model)
        return real(pair, how)

    monkeypatch.setattr(runs, "run_pair", stopped)
    assert main([*argv, "--output", str(out)]) == 130
    assert (out / "leaderboard.html").exists()  # each result as it comes
    first = next(out.glob("tree/colour_stats-*/linear/results.json"))
    before = first.stat().st_mtime_ns
    monkeypatch.setattr(runs, "run_pair", lambda pair, how: calls.append(pair.model) or real(pair, how))
    assert main([*argv, "--output", str(out)]) == 0
    assert calls == ["colour_stats", "tiny_vit", "broken"]
    assert first.stat().st_mtime_ns == before


def test_heads_share_one_extraction(spec: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture):
    pair = pairs(read_board(str(spec)), tmp_path / "out")[1]
    assert run_pair(pair, {"device": "cpu", "workers": 0}) is None
    assert "tiny_vit on folder: " in capsys.readouterr().err  # the board's name for the model
    assert len(list(cache.rglob("*.h5"))) == 1
    assert len(list(pair.folder.glob("*/results.json"))) == 2
