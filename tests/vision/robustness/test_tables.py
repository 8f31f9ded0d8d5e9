import io

from rich.console import Console

from eva_vision.robustness.tables import show
from tests.vision.robustness.example import content


def test_each_model_with_its_values_and_what_is_published():
    file = io.StringIO()
    show(content(), Console(file=file, width=200))
    said = file.getvalue()
    assert "toy: 40 images of 2 sites (synthetic data)" in said
    assert "0.500 to 0.900" in said
    assert "my[model]: RI published: 0.700 (pathorob); ours differs by +0.050" in said
    assert "my[model]: few neighbours" in said
    assert "0.700 to 0.900" in said
    assert "too few classes" in said
    assert "-0.300 to -0.100" in said
    assert "all: no groups" in said
