import json
from pathlib import Path

import pytest
import yaml

from eva_core.boards import standings as boards
from eva_core.boards.board import read_board
from eva_core.boards.standings import Scoreboard, outside_tolerance, published_values, standings
from eva_core.boards.tables import as_csv
from eva_core.results.holds import HOLDS, write_holds
from eva_core.results.record import RESULT_FILES, read_results, write_results


def test_every_pair_has_a_result_or_a_reason(spec: Path, finished: Path):
    found = standings(read_board(str(spec)), finished)
    rows = {(r.model, r.head): r for r in found.rows}
    assert len(rows) == 6
    for (model, head), row in rows.items():
        cell = row.cells["tree"]
        if model == "broken":
            assert "does not exist" in cell.reason
            assert row.average is None
            assert row.rank is None
        else:
            content = json.loads((finished / cell.folder / "results.json").read_text())
            assert content["identity"]["model"] == model
            assert content["identity"]["head"] == head
            assert cell.value == content["main"]["mean"]
            assert row.rank[1] <= row.rank[0] <= row.rank[2]
            assert cell.tied in (True, False)
            assert cell.nulls == ([] if model == "colour_stats" else ["colour_stats"])  # colour alone scores 1 here
    assert rows["tiny_vit", "linear"].cells["tree"].headroom is None  # colour alone scores 1 here
    assert found.rows[-1].model == "broken"  # without a score, below


def test_until_where_a_score_holds_stands_in_its_cell(spec: Path, finished: Path):
    cell = standings(read_board(str(spec)), finished).rows[0].cells["tree"]
    assert cell.holds == {}
    write_holds(finished / cell.folder, read_results(finished / cell.folder), {"focus": "1, drops at 2"})
    found = standings(read_board(str(spec)), finished)
    (finished / cell.folder / HOLDS).unlink()
    assert found.rows[0].cells["tree"].holds == {"focus": "1, drops at 2"}
    assert "focus: 1, drops at 2" in as_csv(found)


def test_published_values_are_found_by_the_exact_protocol(spec: Path, finished: Path):
    assert published_values()["virchow2", "bach", "val", "balanced_accuracy"]["eva-0.4"] == 0.883
    found = standings(read_board(str(spec)), finished)
    cell = found.rows[0].cells["tree"]
    cell.checks = [("test", cell.value, cell.value - 0.1)]
    lines, checked = outside_tolerance(found, 0.05)
    assert checked == 1
    assert "published" in lines[0]
    assert outside_tolerance(found, 0.11) == ([], 1)


def test_results_on_other_files_are_not_ranked_together(spec: Path, finished: Path):
    odd = next(finished.glob("tree/colour_stats-*/linear/results.json"))
    content = read_results(odd.parent)
    content["identity"]["dataset_sha256"] = "0" * 64
    write_results(odd.parent, content, RESULT_FILES)
    rows = {(r.model, r.head): r for r in standings(read_board(str(spec)), finished).rows}
    assert "Made on other files" in rows["colour_stats", "linear"].cells["tree"].reason
    assert rows["colour_stats", "linear"].rank is None
    assert rows["tiny_vit", "linear"].rank is not None


def test_a_finished_pair_reads_its_own_results_alone(spec: Path, finished: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[Path] = []
    real = boards.read_results
    monkeypatch.setattr(boards, "read_results", lambda folder: read.append(folder) or real(folder))
    scores = Scoreboard(read_board(str(spec)), finished)
    assert len(read) == 4
    scores.update(scores.pairs[0])
    assert [folder.parent for folder in read[4:]] == [scores.pairs[0].folder] * 2
    assert scores.standings() == scores.standings() == standings(read_board(str(spec)), finished)
    assert len(read) == 10


def test_ties_of_other_results_are_not_shown(spec: Path, finished: Path):
    content = yaml.safe_load(spec.read_text())
    content["models"] = ["colour_stats"]
    spec.write_text(yaml.safe_dump(content))
    found = standings(read_board(str(spec)), finished)
    assert not found.tested
    assert {row.cells["tree"].tied for row in found.rows} == {None}


def row_of(values: dict[str, float], published: float | None = None) -> boards.Row:
    cells = {name: boards.Cell(value=value, split="test", protocol="p") for name, value in values.items()}
    return boards.Row("tiny", "linear", cells, average=0.5, published=published)


def test_an_average_is_held_to_its_published_value():
    found = boards.Standings("b", "b", "p", [], [row_of({}, 0.55), row_of({}), row_of({}, 0.51)], 0, False)
    lines, checked = outside_tolerance(found, 0.02)
    assert checked == 2
    assert lines == ["tiny, average, linear: 0.500, published 0.550 (-0.050, tolerance 0.020)"]
