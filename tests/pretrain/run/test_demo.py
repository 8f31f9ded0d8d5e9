"""`eva demo` takes no arguments, and goes from slides through a training to a page; each step is stubbed here."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from eva_core.errors import UsageError
from eva_pretrain.run import demo
from eva_pretrain.run.demo_pictures import PatternMap
from eva_vision.slides.example_slide import EXAMPLE_SLIDE


def test_help_is_all_that_it_takes(capsys: pytest.CaptureFixture):
    assert demo.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: eva demo\n")
    with pytest.raises(UsageError, match=r"Expected `eva demo` alone, but got '--steps 3'"):
        demo.main(["--steps", "3"])


def test_its_board_compares_the_trained_network_with_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    drawn: list[tuple[str, int]] = []
    opened: list[Path] = []

    def draw(path: Path, seed: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.append((path.name, seed))

    def leaderboard(argv: list[str]) -> int:
        (demo.OUTPUT / "leaderboard.md").write_text("the page")
        return 0

    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "demo")
    monkeypatch.setattr(demo, "write_pattern_slide", lambda path, seed: draw(path, seed))
    monkeypatch.setattr(demo, "pretrain", lambda plan: plan.output / "export")
    monkeypatch.setattr(demo, "export_initial_weights", lambda plan: plan.output / "export")
    monkeypatch.setattr(demo.leaderboard, "main", leaderboard)
    monkeypatch.setattr(demo, "SLIDES", 2)
    monkeypatch.setattr(demo, "open_page", opened.append)
    old = tmp_path / "demo" / "of_another_version"
    old.mkdir(parents=True)
    assert demo.main([]) == 0
    assert not old.exists()
    assert drawn == [("phantom_0.svs", 0), ("phantom_1.svs", 1)]
    assert opened == [tmp_path / "demo" / "leaderboard.html"]  # no page of its own without all results
    assert "the page" in capsys.readouterr().out
    board = yaml.safe_load((tmp_path / "demo" / "board.yaml").read_text())
    paths = [model["class_path"] for model in board["models"][:2]]
    assert paths == [str(tmp_path / "demo" / name / "export") for name in ("pretrain", "start")]


def test_a_seed_gives_other_slides_weights_and_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    slides, plans = [], []
    monkeypatch.setattr(demo, "write_pattern_slide", lambda path, seed: slides.append(seed))
    monkeypatch.setattr(demo, "pretrain", lambda plan: plans.append(plan) or plan.output / "export")
    monkeypatch.setattr(demo, "export_initial_weights", lambda plan: plans.append(plan) or plan.output / "export")
    monkeypatch.setattr(demo.leaderboard, "main", lambda argv: 0)
    monkeypatch.setattr(demo.shutil, "rmtree", lambda folder, **_: folder.mkdir())  # as drawing slides would
    for seed in (0, 3):
        assert demo.run(tmp_path / str(seed), seed) == 0
        board = yaml.safe_load((tmp_path / str(seed) / "board.yaml").read_text())
        assert board["tasks"][0]["init_args"]["seed"] == seed
    assert len(set(slides)) == 2 * demo.SLIDES
    assert [plan.setup.seed for plan in plans] == [0, 0, 3, 3]


def test_its_page_is_made_of_three_results_and_a_real_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = (demo.TRAINED, demo.RANDOM, demo.COLOUR)
    for name in names[:2]:
        (tmp_path / demo.TASK / f"{name}-12ab" / "logreg").mkdir(parents=True)
        (tmp_path / demo.TASK / f"{name}-12ab" / "logreg" / "results.json").touch()
    results = {name: tmp_path / demo.TASK / f"{name}-12ab" / "logreg" for name in names}
    assert demo.finished(tmp_path) == {name: results[name] for name in names[:2]}
    main = {"metric": "balanced_accuracy", "mean": 0.5, "ci95": [0.4, 0.6], "chance": 0.25}
    asked: list[tuple[int, list[tuple[Path, Path]]]] = []

    def maps(slide: Path, seed: int, models: list[tuple[Path, Path]]) -> tuple[np.ndarray, list[PatternMap]]:
        asked.append((seed, models))
        return np.zeros((4, 4, 3), np.uint8), [PatternMap(np.zeros((4, 4, 3), np.uint8), 0.5)] * 2

    monkeypatch.setattr(demo, "pattern_maps", maps)
    monkeypatch.setattr(demo, "read_results", lambda folder: {"main": main})
    monkeypatch.setattr(demo, "read_card", lambda folder: {"step": 3})
    monkeypatch.setattr(demo, "read_seen", lambda folder: [("a", None)])
    monkeypatch.setattr(demo, "write_pattern_slide", lambda path, seed: EXAMPLE_SLIDE)
    monkeypatch.setattr(demo, "thumbnail", lambda slide: np.zeros((4, 4, 3), np.uint8))
    page = demo.show(tmp_path, results, began=0.0, seed=1)
    assert page == tmp_path / "index.html"
    assert {"CMU-1-Small-Region.svs", "README.md"} == {file.name for file in (tmp_path / "real").iterdir()}
    trained = {seed * demo.SLIDES + n for seed in range(1000) for n in range(demo.SLIDES)}
    assert len({seed for seed, _ in asked} - trained) == demo.UNSEEN
    exports = [tmp_path / name / "export" for name in ("pretrain", "start")]
    assert asked[0][1] == list(zip(exports, (results[demo.TRAINED], results[demo.RANDOM]), strict=True))
