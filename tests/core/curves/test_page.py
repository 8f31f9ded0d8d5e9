from eva_core.curves.page import write_page
from tests.core.curves.example import example


def test_the_page_has_what_was_found_and_asks_nobody(tmp_path):
    (tmp_path / "plot.png").write_bytes(b"PNG")
    text = write_page(example(), tmp_path / "plot.png", tmp_path / "curve.html").read_text()
    assert "&lt;m&gt;" in text
    assert "<m>" not in text  # the name of a model is no markup
    for said in (
        "48 to 51",
        "9 to 10",
        "0.650 to 0.750",
        "-0.100",
        "2 of 2 draws could not be fitted",
        "Synthetic data",
    ):
        assert said in text
    assert "data:image/png;base64,UE5H" in text
    assert "http" not in text.replace("http-equiv", "")
