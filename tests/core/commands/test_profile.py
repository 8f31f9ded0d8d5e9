import pytest

from eva_core.commands.profile import steps
from eva_core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"), [("0.25..4", [0.25, 0.5, 1, 2, 4]), ("0.5..0.5", [0.5]), ("0.5,1,3", [0.5, 1, 3])]
)
def test_steps(text, expected):
    assert steps(text) == expected


@pytest.mark.parametrize("text", ["4..0.25", "0..1", "1,0.5", "x", ""])
def test_steps_that_make_no_sense(text):
    with pytest.raises(UsageError, match=r"LOW\.\.HIGH"):
        steps(text)
