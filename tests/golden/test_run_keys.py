"""Golden keys of pretraining runs: a move, a rename in the code or a new setting with a default changes none."""

import json
from pathlib import Path

import pytest

from eva_pretrain.run.config import parse

GOLDEN = json.loads(Path(__file__).with_name("run_keys.json").read_text())


@pytest.mark.parametrize("recipe", GOLDEN)
def test_the_key_of_a_recipe(recipe: str):
    places = ["--folder", "/patches", "--start", "/start.ckpt"]  # without them, that of the test would count
    assert parse(["--config", recipe, *places, "--training.devices", "1"]).key == GOLDEN[recipe]
