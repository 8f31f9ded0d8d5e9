import json
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import UsageError
from eva_core.files.checksums import Damaged
from eva_core.results import record


def test_numbers_that_json_lacks_are_null_and_secrets_stay_out(tmp_path: Path):
    content = {
        "nan": float("nan"),
        "list": [np.float32(0.5), (np.inf, np.int64(3))],
        "url": "https://user:pass@host/x?token=abc",
    }
    record.write_results(tmp_path, content)
    text = (tmp_path / record.RESULTS).read_text()
    found = json.loads(text)
    assert (found["nan"], found["list"]) == (None, [0.5, [None, 3]])
    assert "pass" not in text


def test_heads_come_back_by_run_with_their_classes(tmp_path: Path):
    runs = {11: {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, 2: {"a.b": np.ones(1, np.float32)}}
    record.write_heads(tmp_path / record.HEADS, runs, ["b", "ä"])
    record.write_results(tmp_path, {"key": "k"}, [record.HEADS])
    classes, params = record.read_heads(tmp_path / record.HEADS)
    assert (classes, list(params)) == (["b", "ä"], [2, 11])
    assert np.array_equal(params[11]["weight"], runs[11]["weight"])
    assert np.array_equal(params[2]["a.b"], runs[2]["a.b"])


def test_draws_come_back_in_half_the_digits(tmp_path: Path):
    draws = np.random.default_rng(0).random(50)
    record.write_draws(tmp_path, draws)
    record.write_results(tmp_path, {"key": "k"}, [record.DRAWS])
    assert np.array_equal(record.read_draws(tmp_path), draws.astype(np.float32))


def test_a_result_is_whole_until_a_file_of_it_is_not(tmp_path: Path):
    assert not record.is_whole(tmp_path)
    with pytest.raises(UsageError, match="Run `eva fit` first"):
        record.read_results(tmp_path)
    record.write_config(tmp_path, "a: 1\n")
    record.write_results(tmp_path, {"key": "k"}, [record.CONFIG])
    assert record.is_whole(tmp_path)
    assert record.read_result_file(tmp_path, record.CONFIG) == b"a: 1\n"
    (tmp_path / record.CONFIG).write_text("a: 2\n")
    assert not record.is_whole(tmp_path)
    with pytest.raises(Damaged, match=r"config\.yaml is damaged.*it makes the result anew"):
        record.read_whole_result(tmp_path)


def test_a_result_of_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record, "SCHEMA", 2)
    record.write_results(tmp_path, {"key": "k"})
    monkeypatch.undo()
    with pytest.raises(Damaged, match=r"another version of eva \(schema 2\)"):
        record.read_results(tmp_path)


def test_what_stood_there_is_set_aside(tmp_path: Path):
    record.set_aside(tmp_path)
    (tmp_path / record.RESULTS).write_text("old")
    record.set_aside(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json.old"]


@pytest.mark.parametrize(
    ("content", "expected"), [(b'{"a": 1}', {"a": 1}), (b"[1]", {}), (b"{", {}), (b"\xff", {}), (None, {})]
)
def test_a_mapping_that_may_be_damaged(content: bytes | None, expected: dict, tmp_path: Path):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    assert record.read_json(tmp_path / "a.json") == expected
