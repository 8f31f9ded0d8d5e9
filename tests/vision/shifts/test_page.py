from pathlib import Path

from eva_vision.shifts.page import write_page
from tests.vision.shifts.example import study_of_example


def test_the_page_has_what_was_found_and_asks_nobody(tmp_path: Path):
    (tmp_path / "plot.png").write_bytes(b"PNG")
    text = write_page(study_of_example(), [tmp_path / "plot.png"], tmp_path / "shift.html").read_text()
    assert "&lt;m&gt;" in text
    assert "<m>" not in text  # the name of a model is no markup
    assert "50, drops at 10" in text
    assert "data:image/png;base64,UE5H" in text
    assert "Synthetic data" in text
    assert "blur is left out" in text
    assert "http" not in text.replace("http-equiv", "")
