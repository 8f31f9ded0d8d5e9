from pathlib import Path

import pytest

from eva_core.commands.predict import _without_head
from eva_core.errors import UsageError


@pytest.mark.parametrize("head", [["--head", "out/r"], ["--head=out/r"]])
def test_the_folder_of_a_result_is_taken_out_wherever_it_stands(head: list[str]):
    assert _without_head([*head, "--dataset", "bach"]) == (["--dataset", "bach"], Path("out/r"))
    assert _without_head(["--dataset", "bach", *head]) == (["--dataset", "bach"], Path("out/r"))
    assert _without_head(["--dataset", "bach"]) == (["--dataset", "bach"], None)


def test_a_head_without_a_folder_is_refused():
    with pytest.raises(UsageError, match="folder of a finished result after --head"):
        _without_head(["--dataset", "bach", "--head"])
