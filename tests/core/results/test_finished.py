from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_core.results.finished import finished
from eva_core.results.record import write_results

IDENTITY = {"model": "m", "dataset": "d"}
SETTINGS = {"protocol_settings": {"steps": 20, "bag": {"size": 3}}}


def result(folder: Path) -> Path:
    write_results(folder, {"key": "k" * 20, "identity": IDENTITY, "settings": SETTINGS}, [])
    return folder


def test_a_folder_without_a_result_has_none(tmp_path: Path):
    assert finished(tmp_path, "k" * 20, IDENTITY, SETTINGS) is None
    assert finished(tmp_path / "missing", "k" * 20, IDENTITY, SETTINGS) is None


def test_another_result_is_refused_with_both_values_of_what_differs(tmp_path: Path):
    asked = {"protocol_settings": {"bag": {"size": 4}}}
    with pytest.raises(UsageError) as caught:
        finished(result(tmp_path), "q" * 20, {**IDENTITY, "model": "n" * 50}, asked)
    assert str(caught.value) == (
        f"{tmp_path} holds another result (key {'k' * 12}, model m, protocol_settings.steps 20, "
        f"protocol_settings.bag.size 3), not the one asked for (key {'q' * 12}, model {'n' * 40}, "
        "protocol_settings.steps default, protocol_settings.bag.size 4). Choose another --output."
    )


def test_a_damaged_result_is_none_and_the_reason_is_told(tmp_path: Path):
    path = result(tmp_path) / "results.json"
    path.write_text(path.read_text().replace('"m"', '"x"'))
    told: list[str] = []
    assert finished(tmp_path, "k" * 20, IDENTITY, SETTINGS, told.append) is None
    assert len(told) == 1
    assert told[0].endswith("The result is made again.")
