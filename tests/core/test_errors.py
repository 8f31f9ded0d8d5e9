import pytest

from eva_core.errors import EvaError, UsageError, refuse, some


def test_some_names_a_few_and_counts_the_rest():
    assert some([]) == ""
    assert some(iter("abc")) == "a, b, c"
    assert some("abcdefg") == "a, b, c, d, e and 2 more"
    assert some("abc", most=1) == "a and 2 more"


def test_the_first_wrong_setting_is_refused():
    refuse((False, "x", 1))
    with pytest.raises(UsageError) as caught:
        refuse((False, "x", 1), (True, "steps of at least 1", 0), (True, "runs of at least 1", 0), where="protocol")
    assert str(caught.value) == "Expected steps of at least 1, but got 0. Change it in the protocol."


def test_wrong_use_has_an_exit_code_of_its_own():
    assert (EvaError.exit_code, UsageError.exit_code) == (1, 2)
