from pathlib import Path

import pytest

from eva_core.cli import main


def test_flags_reach_the_import_and_the_store_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    asked: list[tuple] = []
    monkeypatch.setattr(
        "eva_core.classification.import_kaiko.import_folder", lambda *given: asked.append(given) or "store.h5"
    )
    flags = ["--model", "m", "--dataset", "d"]
    assert main(["import", str(tmp_path), *flags, "--classes", "no", "yes"]) == 0
    assert main(["import", str(tmp_path), *flags]) == 0
    assert asked == [(tmp_path, "m", "d", ["no", "yes"]), (tmp_path, "m", "d", None)]
    assert capsys.readouterr().out == "store.h5\nstore.h5\n"


@pytest.mark.parametrize(
    ("argv", "said"), [(["--model", "m", "--dataset", "d"], "folder"), ([".", "--dataset", "d"], "--model")]
)
def test_what_is_missing_is_named(argv: list[str], said: str, capsys: pytest.CaptureFixture):
    assert main(["import", *argv]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
