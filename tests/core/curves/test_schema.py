from eva_core.curves.schema import SCHEMA, Curve
from tests.core.curves.example import example


def test_a_curve_has_the_fields_that_are_typed(made):
    assert made[0].keys() == Curve.__annotations__.keys() == example().keys()
    assert made[0]["schema"] == SCHEMA
