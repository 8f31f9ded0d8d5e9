from PIL import Image

from eva_core.curves.plot import draw
from tests.core.curves.example import example


def test_a_line_a_model_and_no_fault_where_nothing_was_fitted(tmp_path):
    assert (
        Image.open(draw(example(), tmp_path / "one.png")).size
        == Image.open(draw(example(grouped=False), tmp_path / "two.png")).size
    )
    content = example()
    content["models"] = [{**content["models"][0], "points": content["models"][0]["points"][:1] * 3}]
    content["chance"] = None
    assert draw(content, tmp_path / "three.png").stat().st_size > 5000
