import pytest

from eva_core.errors import UsageError
from eva_core.evaluation.class_checks import refuse_one_class_by_two_names, untrained, untrained_line


@pytest.mark.parametrize(
    ("one", "other"), [("Tumour", "tumour"), ("in  situ", "in situ"), ("a\u0308", "\u00e4"), ("1", "1.0"), ("01", "1")]
)
def test_one_class_by_two_names_is_refused_with_its_places(one: str, other: str):
    with pytest.raises(UsageError) as caught:
        refuse_one_class_by_two_names((one, other, "x"), {"train": {one: 3, "x": 1}, "test": {other: 2, "x": 1}})
    assert f"{one!r} (train) = {other!r} (test)" in str(caught.value)
    refuse_one_class_by_two_names(("tumour", "tumor", "TUM 1", "TUM 2"), {})


def test_a_class_that_train_lacks_is_found_with_its_number():
    counts = {"train": {"a": 4, "b": 4, "c": 0}, "val": {"a": 1, "b": 1, "c": 0}, "test": {"a": 2, "b": 0, "c": 5}}
    assert untrained(counts, "mine") == {"test": {"c": 5}}
    assert untrained_line("test", {"c": 5}).startswith("test has 'c' (5 images), which train lacks")


def test_a_train_split_of_one_class_teaches_nothing():
    with pytest.raises(UsageError, match="at least 2 classes in the train split of 'mine', but all are of 'a'"):
        untrained({"train": {"a": 4, "b": 0}, "test": {"a": 1, "b": 1}}, "mine")


def test_a_split_of_which_train_knows_no_class_has_no_score():
    with pytest.raises(UsageError, match="but train has a, b, and test c, d"):
        untrained({"train": {"a": 4, "b": 4}, "val": {"a": 1}, "test": {"c": 1, "d": 2}}, "mine")


def test_a_split_without_a_label_is_no_matter():
    assert untrained({"train": {"a": 4, "b": 4}, "test": {"a": 0, "b": 0}}, "mine") == {}
