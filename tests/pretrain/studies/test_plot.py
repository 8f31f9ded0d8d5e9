"""The plot of results that were written by hand."""

from PIL import Image

from eva_pretrain.studies.plot import draw
from eva_pretrain.studies.scores import study_record
from eva_pretrain.studies.table import as_markdown
from tests.pretrain.studies.results import STUDY, make_run


def test_nothing_yet_is_said_and_drawn(tmp_path):
    runs = [make_run(tmp_path, variant, 0) for variant in STUDY.variants]
    record = study_record(STUDY, runs)
    assert "| base | 0 of 1 | no score | - |" in as_markdown(record)
    assert draw(record, tmp_path / "study.png").stat().st_size > 0


def test_the_plot_has_a_panel_for_each_side(runs, tmp_path):
    record = study_record(STUDY, runs)
    both = Image.open(draw(record, tmp_path / "both.png"))
    record["tasks"] = [task for task in record["tasks"] if task["side"] == "in_distribution"]
    one = Image.open(draw(record, tmp_path / "one.png"))
    assert both.width > 1.5 * one.width
    assert both.height == one.height
