import pytest

from eva_core.commands.predict import _taken
from eva_core.errors import UsageError

WHAT = "the folder of a finished result"


@pytest.mark.parametrize("head", [["--head", "out/r"], ["--head=out/r"]])
def test_the_folder_of_a_result_is_taken_out_wherever_it_stands(head: list[str]):
    assert _taken([*head, "--dataset", "bach"], "--head", WHAT) == (["--dataset", "bach"], "out/r")
    assert _taken(["--dataset", "bach", *head], "--head", WHAT) == (["--dataset", "bach"], "out/r")
    assert _taken(["--dataset", "bach"], "--head", WHAT) == (["--dataset", "bach"], None)


def test_a_head_without_a_folder_is_refused():
    with pytest.raises(UsageError, match="folder of a finished result after --head"):
        _taken(["--dataset", "bach", "--head"], "--head", WHAT)
