from pathlib import Path

from eva_vision.robustness.page import write_page
from tests.vision.robustness.example import content


def test_the_page_holds_the_numbers_and_nothing_from_elsewhere(tmp_path: Path):
    text = write_page(content(), tmp_path / "r.html").read_text()
    for words in (
        "0.500 to 0.900",
        "my[model]",
        "few neighbours",
        "0.700 to 0.900",
        "too few classes",
        "-0.300 to -0.100",
        "Synthetic data",
        "ours differs by +0.050",
    ):
        assert words in text
    assert "__THEME__" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "&lt;b&gt;" in text  # a site's name is no markup
