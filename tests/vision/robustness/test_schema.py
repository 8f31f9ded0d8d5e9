from typing import get_type_hints

from eva_vision.robustness.schema import ModelRecord, Robustness
from tests.vision.robustness.example import content


def test_the_example_has_what_is_promised():
    assert content().keys() == get_type_hints(Robustness).keys()
    assert content()["models"][0].keys() == get_type_hints(ModelRecord).keys()
