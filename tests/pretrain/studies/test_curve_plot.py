"""The plot of a learning curve: intervals, colour, and steps without a score."""

from pathlib import Path

from PIL import Image

from eva_pretrain.studies.curve_plot import draw


def test_a_panel_for_each_task(tmp_path: Path) -> None:
    points = [{"step": n, "score": 0.5 + n / 1e4, "ci95": [0.4, 0.7], "reason": None} for n in (1000, 2000, 3000)]
    lost = [{"step": n, "score": None, "ci95": None, "reason": "no room"} for n in (1000, 2000, 3000)]
    alone = [{**points[0], "ci95": None}, *lost[1:]]
    shared = {"metric": "balanced_accuracy", "split": "test", "synthetic": True}
    tasks = [
        {"name": f"task_{n}", "colour": colour, "points": shown, **shared}
        for n, (colour, shown) in enumerate(((0.45, points), (None, lost), (None, alone)))
    ]
    curve = {"title": "Learning curve of $run", "protocol": "strict", "tasks": tasks}
    with Image.open(draw(curve, tmp_path / "curve.png")) as wide:
        width = wide.width
    with Image.open(draw({**curve, "tasks": tasks[:1]}, tmp_path / "curve.png")) as narrow:
        assert width > 2 * narrow.width
        assert len(narrow.convert("RGB").getcolors(2**24) or []) > 50
