import pytest

from eva_core.cli import main
from eva_core.commands import fit


@pytest.mark.parametrize("argv", [["--embeddings", "store.h5"], ["--embeddings=store.h5"]])
def test_embeddings_take_the_place_of_a_model_and_a_dataset(argv: list[str], monkeypatch: pytest.MonkeyPatch):
    asked: list[dict] = []
    monkeypatch.setattr(fit, "fit_embeddings", lambda **given: asked.append(given) or {"main": 1})
    monkeypatch.setattr(fit, "show", lambda results: asked.append(results))
    assert fit.main([*argv, "--head", "linear", "--protocol", "strict"]) == 0
    assert str(asked[0]["store"]) == "store.h5"
    assert asked[0]["protocol"].name == "strict"
    assert asked[1] == {"main": 1}


def test_what_lacks_a_dataset_is_one_line(capsys: pytest.CaptureFixture):
    assert main(["fit", "--model", "colour_stats"]) == 2
    err = capsys.readouterr().err
    assert "dataset" in err
    assert err.count("\n") == 1
