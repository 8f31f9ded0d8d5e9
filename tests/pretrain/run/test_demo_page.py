"""The page of the demo says what came out, and what is synthetic, what real and whose."""

import re
import shlex
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from eva_core import registry
from eva_core.config.files import find_config
from eva_pretrain.run.demo_page import Scored, Shown, Unseen, verdict, write_page
from eva_pretrain.run.demo_pictures import PatternMap
from eva_vision.synthetic.patterns import CLASSES

PICTURE = np.full((8, 8, 3), 200, np.uint8)


def scored(words: str, mean: float, low: float, high: float, folder: Path = Path()) -> Scored:
    main = {"metric": "balanced_accuracy", "mean": mean, "ci95": [low, high], "chance": 0.25}
    return Scored(words, folder, cast(Any, {"main": main}))


@pytest.fixture
def page(tmp_path: Path) -> str:
    names = {"Pretrained <here>": (0.6, 0.5, 0.7), "Random": (0.3, 0.2, 0.4), "Colour": (0.26, 0.2, 0.3)}
    models = [scored(name, *values, tmp_path / "task" / str(n)) for n, (name, values) in enumerate(names.items())]
    shown = Shown(
        about="seed 7",
        steps=12,
        slides=5,
        models=models,
        training=PICTURE,
        patients=[[PICTURE] * len(CLASSES)] * 2,
        unseen=[Unseen(PICTURE, PICTURE, [PatternMap(PICTURE, 0.625), PatternMap(PICTURE, 0.25)])],
        tissue="data:image/png;base64,",
        real=[PICTURE] * 3,
        slide=Path("real/slide.svs"),
    )
    return write_page(tmp_path / "index.html", shown).read_text(encoding="utf-8")


def test_it_shows_scores_with_intervals_and_leads_to_the_reports(page: str):
    assert "Pretrained &lt;here&gt;" in page
    for text in ("0.600", "0.500 – 0.700", "left:25.0%", "12 steps", "the 5 slides", "62% of the windows right"):
        assert text in page
    assert re.findall(r'href="(task/\d/report.html)"', page) == [f"task/{n}/report.html" for n in range(3)]


def test_it_needs_no_network_and_leaves_no_mark_to_be_filled(page: str):
    assert "__" not in page.replace("base64", "")
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)"', page))


def test_it_says_what_is_synthetic_and_what_is_real_and_whose(page: str):
    synthetic, _, real = page.partition("<h2>Real tissue")
    assert synthetic.count(">SYNTHETIC<") == 2
    assert ">REAL<" in real
    assert "CC0 1.0" in real
    assert "https://openslide.cs.cmu.edu/" in real
    assert "real/slide.svs" in real


def test_learning_is_claimed_only_above_all_others():
    first = scored("trained", 0.5, 0.41, 0.6)
    assert verdict([first, scored("random", 0.3, 0.2, 0.4), scored("colour", 0.3, 0.2, 0.35)])[0]
    for others in [(0.4, 0.42), (0.42, 0.4)]:
        learned, words = verdict([first, *(scored("", 0.3, 0.2, high) for high in others)])
        assert not learned
        assert "does not show it" in words


def test_its_commands_name_what_is_there(page: str):
    commands = [shlex.split(unescape(command)) for command in re.findall(r"<pre>(.*?)</pre>", page)]
    assert [words[:2] for words in commands] == [["eva", "slides"], ["eva", "fit"], ["eva", "pretrain"]]
    for words in commands:
        given = dict(pairwise(words))
        if "--config" in given:
            assert find_config(given["--config"], "pretrain" if words[1] == "pretrain" else "tasks").is_file()
        if "--model" in given:
            assert given["--model"] in {entry.name for entry in registry.models.entries()}
