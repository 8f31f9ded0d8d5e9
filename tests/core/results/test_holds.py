from pathlib import Path
from typing import Any

from eva_core.results.holds import HOLDS, read_holds, write_holds


def test_what_holds_is_kept_with_the_result_that_it_is_of(tmp_path: Path):
    first: Any = {"sha256": "a"}
    assert read_holds(tmp_path, first) == {}
    write_holds(tmp_path, first, {"JPEG quality": "50, drops at 30"})
    write_holds(tmp_path, first, {"focus": "4, the strongest tried"})
    assert read_holds(tmp_path, first) == {"JPEG quality": "50, drops at 30", "focus": "4, the strongest tried"}
    second: Any = {"sha256": "b"}
    assert read_holds(tmp_path, second) == {}  # fitted anew since
    write_holds(tmp_path, second, {"focus": "1, drops at 2"})
    assert read_holds(tmp_path, second) == {"focus": "1, drops at 2"}


def test_a_damaged_record_is_none(tmp_path: Path):
    result: Any = {"sha256": "a"}
    write_holds(tmp_path, result, {"focus": "1"})
    (tmp_path / HOLDS).write_text((tmp_path / HOLDS).read_text()[:-9])
    assert read_holds(tmp_path, result) == {}
