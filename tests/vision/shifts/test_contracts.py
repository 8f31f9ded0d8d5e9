import pickle

import numpy as np
import pytest

from eva_core import registry
from eva_core.errors import EvaError
from eva_vision.shifts.contracts import ChangeCard, Reference, Shift, change, needs, strength_text
from eva_vision.shifts.optics import blur
from eva_vision.shifts.recording import jpeg, noise
from eva_vision.shifts.stain import stain_swap
from tests.conftest import picture


def test_every_registered_change_gives_uint8_of_the_same_kind_at_each_usual_strength():
    image, lent = picture(0, (200, 120, 180), 24), Reference(picture(1, (150, 90, 190), 24))
    for entry in registry.changes.entries():
        function = registry.changes.load(entry.name)
        for strength in function.card.strengths:
            changed = Shift(entry.name, function, strength, lent)(image, "id", 0.5)
            assert changed.dtype == np.uint8
            assert changed.shape == image.shape
            assert (changed != image).any(), entry.name


def test_noise_is_of_the_id_alone():
    image = picture(0)
    shift = pickle.loads(pickle.dumps(Shift("noise", noise, 5.0)))  # as loader workers have it
    first = shift(image, "a", None)
    assert (first == Shift("noise", noise, 5.0)(image, "a", None)).all()
    assert (first != shift(image, "b", None)).any()


def test_what_decides_the_pixels_is_in_the_identity():
    one, other = (Reference(picture(seed)) for seed in (1, 2))
    assert Shift("jpeg", jpeg, 50.0, one).identity == Shift("jpeg", jpeg, 50.0, other).identity
    assert Shift("stain_swap", stain_swap, 1.0, one).identity != Shift("stain_swap", stain_swap, 1.0, other).identity
    assert Shift("blur", blur, 1.0).about("a", 0.5) != Shift("blur", blur, 1.0).about("a", 0.25)
    assert Shift("blur", blur, 1.0).about("a", 0.5) == Shift("blur", blur, 1.0).about("b", 0.5)
    assert Shift("noise", noise, 1.0).about("a", None) != Shift("noise", noise, 1.0).about("b", None)


def test_blur_without_a_known_mpp_is_refused():
    with pytest.raises(EvaError, match="micrometres per pixel for blur"):
        Shift("blur", blur, 1.0)(picture(0), "a", None)


def test_a_card_says_whether_strengths_have_an_order():
    def plain(image: np.ndarray, strength: str) -> np.ndarray:
        del strength
        return image

    described = change(ChangeCard("a change", ("x", "y")))(plain)
    assert described is plain
    assert needs(plain) == []
    assert not plain.card.ordered  # type: ignore[attr-defined]
    assert jpeg.card.ordered  # type: ignore[attr-defined]
    assert [strength_text(s) for s in (10.0, "box")] == ["10", "box"]
