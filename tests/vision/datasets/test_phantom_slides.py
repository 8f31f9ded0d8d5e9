from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_vision.datasets.phantom_slides import PhantomSlides


def build() -> PhantomSlides:
    return PhantomSlides(10, side=256)


def test_slides_are_drawn_once(cache: Path, monkeypatch: pytest.MonkeyPatch):
    first = build()
    files = sorted((cache / "phantom_slides").rglob("*.svs"))
    assert len(files) == 10
    monkeypatch.setattr("eva_vision.datasets.phantom_slides.write_pattern_slide", None)
    assert build().fingerprint() == first.fingerprint()
    assert first.image(first.samples[0]).shape == (256, 256, 3)


def test_each_outcome_is_its_own_kind_of_task():
    kinds = {of: PhantomSlides(10, of, side=256) for of in ("label", "value", "survival")}
    assert [d.card.task for d in kinds.values()] == ["slide_classification", "slide_regression", "slide_survival"]
    assert kinds["label"].card.classes == ("few sheets", "many sheets")
    assert len(kinds["survival"].samples[0].target) == 2
    assert all(d.card.synthetic for d in kinds.values())


@pytest.mark.parametrize("wrong", [{"patients": 3}, {"confounded": 1.5}, {"side": 8}, {"seed": -1}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]):
    with pytest.raises(UsageError, match=f"Expected argument {next(iter(wrong))}"):
        PhantomSlides(**wrong)
