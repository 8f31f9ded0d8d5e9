import json
from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_core.results.record import HEADS, PREDICTIONS, RESULTS
from eva_core.verification.verdict import Verdict
from eva_core.verification.written import check_files, read_stated
from tests.core.verification.conftest import resealed


def test_a_result_as_it_was_written_holds(result: Path):
    verdict = Verdict(result)
    stated = read_stated(verdict)
    assert stated is not None
    check_files(verdict, stated, [])
    assert (verdict.holds, verdict.wrong) == (["seal", "4 files"], [])


def test_bytes_that_leave_the_content_as_it_is_are_found(result: Path):
    path = result / RESULTS
    path.write_text(path.read_text().replace(": ", ":  ", 1))
    verdict = Verdict(result)
    read_stated(verdict)
    assert verdict.wrong == [
        "results.json: expected the one text that eva writes of its content, but found other bytes."
    ]


def test_a_broken_seal_still_gives_what_is_stated(result: Path):
    path = result / RESULTS
    path.write_text(path.read_text().replace('"embed_s": 1.25', '"embed_s": 1.26'))
    verdict = Verdict(result)
    stated = read_stated(verdict)
    assert stated is not None
    assert stated["cost"]["embed_s"] == 1.26
    assert len(verdict.wrong) == 1
    assert "expected the seal" in verdict.wrong[0]


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff\xfe\xff"])
def test_what_is_no_record_is_wrong(result: Path, text: bytes):
    (result / RESULTS).write_bytes(text)
    verdict = Verdict(result)
    assert read_stated(verdict) is None
    assert verdict.exit_code == 1


def test_no_result_or_one_of_another_format_cannot_be_checked(result: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"has no results\.json"):
        read_stated(Verdict(tmp_path / "nowhere"))
    resealed(result, lambda content: content.update(schema=2))
    with pytest.raises(UsageError, match="Verify it with the version"):
        read_stated(Verdict(result))


def test_missing_swapped_and_unnamed_files_are_named(result: Path):
    content = json.loads((result / RESULTS).read_text())
    del content["files"]["config.yaml"]
    (result / HEADS).unlink()
    (result / PREDICTIONS).write_bytes(b"other")
    verdict = Verdict(result)
    check_files(verdict, content, ["picture.png"])
    found = [line.split(":")[0] for line in verdict.wrong]
    assert sorted(found) == sorted(["config.yaml", "picture.png", HEADS, PREDICTIONS])
    assert any("but found 5 with" in line for line in verdict.wrong)
